"""Who may call what."""

from __future__ import annotations

from services.chassis.roles import Role, rules_of

RULES = rules_of(
    "corella.v1.TrainerService",
    {
        Role.TRAINER: (
            "CreateDataset BuildDataset GetDataset ListDatasets ListExamples DeleteDataset"
            " CreateJob GetJob ListJobs WatchJob CancelJob GetJobLog GetJobReport GetEvaluation ListEvaluations"
            " ListAdapters GetServing CreateSchedule ListSchedules DeleteSchedule GetCost"
        ),
        # What serves, serves everyone of the deployment.
        Role.ADMIN: "PromoteAdapter RollBackAdapter",
    },
)
