"""The floors of the house: who may import whom. Imports inside functions count too."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "gazehound"

FLOORS = [
    {"errors"},
    {"records", "kernels", "watching"},
    {"boxes"},
    {"data", "metrics", "nn", "features"},
    {"detectors"},
    {"catalog"},
    {"checkpoints"},
    {"training", "explain", "export", "adapters"},
    {"reports", "serve"},
    {"model", "cli", "__main__"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
SHARED_BY_DETECTORS = {"gazehound.detectors.detector", "gazehound.detectors.network"}
NEVER_TORCH = {"errors", "records", "watching", "kernels", "features", "metrics"}
MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__"
)


def room_of(dotted: str) -> str | None:
    parts = dotted.split(".")
    return parts[1] if parts[0] == "gazehound" and len(parts) > 1 else None


def imports_of(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            if node.module == "gazehound":
                found += [(node.lineno, f"gazehound.{alias.name}") for alias in node.names]
            else:
                found.append((node.lineno, node.module or ""))
    return found


def type_checking_lines(path: Path) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            lines |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_imports_only_lower_floors(path):
    relative = path.relative_to(PACKAGE)
    room = relative.parts[0].removesuffix(".py")
    assert room in FLOOR_OF, f"{relative}: a room that the table does not know"
    for line, name in imports_of(path):
        target = room_of(name)
        if target is None or target == "__version__":
            continue
        assert target in FLOOR_OF, f"{relative}:{line}: imports unknown room {target}"
        lower = FLOOR_OF[target] < FLOOR_OF[room]
        same_room = target == room and room != "detectors"
        protocol = room == "detectors" and name in SHARED_BY_DETECTORS
        top = FLOOR_OF[room] == len(FLOORS) - 1 and FLOOR_OF[target] == FLOOR_OF[room]
        assert lower or same_room or protocol or top, f"{relative}:{line}: {room} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_classical_rooms_never_import_torch(path):
    relative = path.relative_to(PACKAGE)
    if relative.parts[0].removesuffix(".py") not in NEVER_TORCH:
        return
    typing_only = type_checking_lines(path)
    for line, name in imports_of(path):
        if line not in typing_only:
            assert name.split(".")[0] not in {"torch", "torchvision"}, f"{relative}:{line}"
