"""Writes dashboards and rules to where the chart takes them from, and the pictures of the layout: `python -m deploy.dashboards`."""

from __future__ import annotations

from deploy.dashboards.catalog import BOARDS, FOLDER, OBJECTIVES_FILE, file_of, objectives_text, text_of
from deploy.dashboards.layout_picture import draw, picture_of


def main() -> None:
    """Writes all files; a dashboard that is no more loses its file."""
    wanted = {file_of(board) for board in BOARDS}
    for stale in set(FOLDER.glob("*.json")) - wanted:
        stale.unlink()
    for board in BOARDS:
        file_of(board).write_text(text_of(board), encoding="utf-8")
        draw(board, picture_of(board))
        print(file_of(board).name)
    OBJECTIVES_FILE.write_text(objectives_text(), encoding="utf-8")
    print(OBJECTIVES_FILE.name)


if __name__ == "__main__":
    main()
