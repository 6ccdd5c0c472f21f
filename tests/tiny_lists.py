"""Prompt lists of a few made-up prompts, in the formats of the benchmarks that the table of suites names."""

import json
from pathlib import Path

GENEVAL = [
    {"tag": "single_object", "include": [{"class": "kite", "count": 1}], "prompt": "a kite in the wind"},
    {
        "tag": "counting",
        "include": [{"class": "kite", "count": 2}],
        "exclude": [{"class": "kite", "count": 3}],
        "prompt": "a photo of two kites",
    },
]
DPG = (
    "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,question_natural_language\n"
    'COCO7,"A red kite, ""high"" above a hill.",,1,0,entity,whole,entity - whole (kite),Is there a kite?\n'
    'COCO7,"A red kite, ""high"" above a hill.",,2,1,attribute,color,"attribute - color (kite, red)",Is the kite red?\n'
    "12,A blue hill.,,1,0,entity,whole,entity - whole (hill),Is there a hill?\n"
)
PARTI = (
    'Prompt\tCategory\tChallenge\tNote\nkite\tAbstract\tBasic\tNone\n"K I T E" on a wall\tArts\tWriting & Symbols\t\n'
)
FILES = {
    "geneval/evaluation_metadata.jsonl": "".join(json.dumps(row) + "\n" for row in GENEVAL),
    **{
        f"t2i_compbench/{name}_val.txt": f"a {name} kite\r\ntwo {name} kites\r\n"
        for name in ("color", "shape", "texture", "spatial", "non_spatial", "complex", "numeracy")
    },
    "dpg_bench/dpg_bench.csv": DPG,
    "partiprompts/PartiPrompts.tsv": PARTI,
    "drawbench/test.txt": "a kite of water\n\na kite under the sea.\na kite of water\n",
    **{
        f"hpsv2/{style}.json": json.dumps([f"a kite, {style}", f"two kites, {style}"])
        for style in ("anime", "concept-art", "paintings", "photo")
    },
    "hpsv2/hps_v2_all.txt": "A kite on a table.\nThere is a kite  \nA kite on a table.\n",
}


def write_lists(folder: Path) -> Path:
    """All of them below the folder, each list in a folder of its own."""
    for name, content in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode())
    return folder
