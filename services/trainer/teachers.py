"""Who writes the examples of a corpus source: the generator's base model, or a server the deployment allows."""

from __future__ import annotations

from collections.abc import Callable

from services.trainer.generator_teacher import GeneratorTeacher
from services.trainer.grpc_generator import GrpcGenerator
from services.trainer.openai_teacher import OpenAiTeacher
from services.trainer.ports import Teacher
from services.trainer.settings import TeacherSettings


def teachers(settings: TeacherSettings, generator: GrpcGenerator) -> Callable[[str, str], Teacher]:
    """A function that opens the teacher at a URL, or the generator for none. It raises `InvalidArgument` for a URL that is not allowed."""
    return lambda url, model: OpenAiTeacher(settings, url, model) if url else GeneratorTeacher(generator)
