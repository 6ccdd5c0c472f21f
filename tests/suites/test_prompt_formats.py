"""Prompt files of benchmarks: what is read of them, and that a damaged one is named with its line."""

import pytest
from tiny_lists import DPG, FILES, PARTI, write_lists

from plaudit.core.errors import BadConfig
from plaudit.suites import prompt_formats


def written(tmp_path, name, content):
    file = tmp_path / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def said(prompts):
    return [(prompt.index, prompt.text, prompt.category) for prompt in prompts]


def test_genevals_metadata_goes_to_its_scorer_as_it_is(tmp_path):
    file = write_lists(tmp_path) / "geneval/evaluation_metadata.jsonl"
    prompts = prompt_formats.geneval([(file, "")])
    assert said(prompts) == [(0, "a kite in the wind", "single_object"), (1, "a photo of two kites", "counting")]
    assert prompts[1].facts["exclude"] == [{"class": "kite", "count": 3}]
    assert prompts[1].facts["tag"] == "counting"


def test_lines_are_prompts_of_their_files_category(tmp_path):
    files = [(written(tmp_path, "a.txt", "\ufeffone\r\n\r\n  two \r\n"), "first"), (written(tmp_path, "b", "one"), "")]
    assert said(prompt_formats.lines(files)) == [(0, "one", "first"), (1, "two", "first"), (2, "one", "all")]


def test_a_line_that_comes_again_counts_once_where_the_list_repeats_itself(tmp_path):
    file = write_lists(tmp_path) / "drawbench/test.txt"
    assert [it.text for it in prompt_formats.lines_once([(file, "")])] == ["a kite of water", "a kite under the sea."]


def test_signs_that_look_like_line_ends_are_part_of_a_prompt(tmp_path):
    file = written(tmp_path, "a.txt", "one\u2028line\x0bonly\ntwo")
    assert [it.text for it in prompt_formats.lines([(file, "")])] == ["one\u2028line\x0bonly", "two"]


def test_partiprompts_quotes_are_part_of_the_prompt(tmp_path):
    prompts = prompt_formats.partiprompts([(written(tmp_path, "p.tsv", PARTI), "")])
    assert said(prompts) == [(0, "kite", "Abstract"), (1, '"K I T E" on a wall', "Arts")]
    assert prompts[1].facts == {"challenge": "Writing & Symbols", "note": ""}


def test_dpg_benchs_questions_stand_with_their_prompt(tmp_path):
    prompts = prompt_formats.dpg_bench([(written(tmp_path, "d.csv", DPG), "")])
    assert said(prompts) == [(0, 'A red kite, "high" above a hill.', "coco"), (1, "A blue hill.", "numbered")]
    assert prompts[0].facts["item_id"] == "COCO7"
    assert [row["question_natural_language"] for row in prompts[0].facts["questions"]] == [
        "Is there a kite?",
        "Is the kite red?",
    ]
    assert prompts[0].facts["questions"][1]["dependency"] == "1"


def test_dpg_benchs_questions_are_what_its_scorer_reads(tmp_path):
    from plaudit.suites.dpg_bench_questions import questions_of

    prompts = prompt_formats.dpg_bench([(written(tmp_path, "d.csv", DPG), "")])
    second = questions_of(prompts[0].facts, prompts[0].text)[1]
    assert (second.text, second.parents, second.broad) == ("Is the kite red?", (1,), "attribute")


def test_a_style_of_hpsv2_is_an_array_of_texts(tmp_path):
    files = [(write_lists(tmp_path) / f"hpsv2/{style}.json", style) for style in ("anime", "photo")]
    found = said(prompt_formats.string_arrays(files))
    assert found[0] == (0, "a kite, anime", "anime")
    assert found[3] == (3, "two kites, photo", "photo")


def test_a_users_jsonl_says_categories_and_keeps_what_else_it_says(tmp_path):
    file = written(tmp_path, "mine.jsonl", '{"prompt": "a kite", "category": "toys", "id": 7}\n{"prompt": "a hill"}\n')
    prompts = prompt_formats.own([(file, "")])
    assert said(prompts) == [(0, "a kite", "toys"), (1, "a hill", "all")]
    assert prompts[0].facts == {"id": 7}


def test_a_users_text_is_a_prompt_a_line_even_if_it_looks_like_json(tmp_path):
    prompts = prompt_formats.own([(written(tmp_path, "mine.txt", '{"prompt": "a kite"}\na hill\n'), "")])
    assert [prompt.text for prompt in prompts] == ['{"prompt": "a kite"}', "a hill"]


def test_a_users_json_is_an_array_of_texts_or_of_objects(tmp_path):
    said_so = '["a kite",\n {"prompt": "a hill", "category": "places", "id": 7}]'
    prompts = prompt_formats.own([(written(tmp_path, "mine.JSON", said_so), "")])
    assert said(prompts) == [(0, "a kite", "all"), (1, "a hill", "places")]
    assert prompts[1].facts == {"id": 7}


@pytest.mark.parametrize("name", ["mine.csv", "mine.tsv", "MINE.CSV"])
def test_a_users_table_is_refused_and_not_read_as_prompts(name, tmp_path):
    with pytest.raises(BadConfig, match="is a table, and nothing says which column has the prompts; write them one a"):
        prompt_formats.own([(written(tmp_path, name, "prompt,seed\na kite,3\n"), "")])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[]", "an array of texts"),
        ('{"prompts": ["a kite"]}', "an array of texts"),
        ('["a kite"', "line 1: no JSON"),
        ('["a kite", 3]', "element 2: a text or an object with 'prompt' is wanted, got 3"),
        ('["a kite", " "]', "element 2: 'prompt' is a text that is not empty"),
        ('[{"text": "a kite"}]', "element 1: 'prompt' is a text that is not empty"),
    ],
)
def test_a_users_damaged_json_is_one_sentence(content, says, tmp_path):
    with pytest.raises(BadConfig, match=says) as raised:
        prompt_formats.own([(written(tmp_path, "mine.json", content), "")])
    assert "mine.json" in str(raised.value)


def test_dpg_benchs_prompt_is_the_first_that_its_lines_tell(tmp_path):
    more = (
        "13,,,1,0,e,w,entity (hill),Is there a hill?\n"
        "13,A green hill.,,2,0,e,w,entity (hill),Is it green?\n"
        "13,Another hill.,,3,0,e,w,entity (hill),Is it another?\n"
        "14,,,1,0,e,w,entity (hill),Is there nothing to draw?\n"
    )
    prompts = prompt_formats.dpg_bench([(written(tmp_path, "d.csv", DPG + more), "")])
    assert [prompt.text for prompt in prompts][1:] == ["A blue hill.", "A green hill."]
    assert len(prompts[2].facts["questions"]) == 3


GOOD = FILES["geneval/evaluation_metadata.jsonl"]


@pytest.mark.parametrize(
    ("read", "content", "says"),
    [
        ("geneval", GOOD + "{", "line 3: no JSON"),
        ("geneval", GOOD + "[1]", "line 3: an object is wanted"),
        ("geneval", GOOD + '{"tag": "counting", "include": []}', "line 3: 'prompt' is a text"),
        ("geneval", GOOD + '{"prompt": "x", "tag": 3}', "line 3: 'tag' is a text"),
        ("geneval", GOOD + '\n{"prompt": "x", "tag": "y", "include": []}', "line 4: 'include' names no object"),
        ("geneval", '{"prompt": "x", "tag": "y", "include": [{"class": "kite"}]}', "line 1: 'include' is a list"),
        ("geneval", '{"prompt": "x", "tag": "y", "include": [{"class": "a", "count": 0}]}', "line 1: 'include'"),
        ("lines", " \n\n", "holds no prompt"),
        ("lines", b"\xff\xfe", "not text in UTF-8"),
        ("partiprompts", "kite\tAbstract\tBasic\tNone\n", "line 1: the columns are Prompt, Category"),
        ("partiprompts", PARTI + "kite\tAbstract\n", "line 4: a prompt and its category"),
        ("partiprompts", PARTI + "kite\t\tBasic\tNone\n", "line 4: a prompt and its category"),
        ("dpg_bench", "item_id,text\n1,a kite\n", "line 1: there is no column 'proposition_id'"),
        ("dpg_bench", DPG + "13,A hill.,,1\n", "line 5: there are too few columns"),
        ("dpg_bench", DPG + ",A hill.,,1,0,e,w,entity (hill),Is it?\n", "line 5: 'item_id' is a text"),
        ("string_arrays", '{"a": 1}', "an array of texts"),
        ("string_arrays", '["a", ""]', "an array of texts"),
        ("string_arrays", '["a",', "line 1: no JSON"),
        ("own", '{"prompt": ""}', "line 1: 'prompt' is a text that is not empty"),
        ("own", '{"prompt": "a kite", "category": 3}', "line 1: 'category' is a text"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_one_sentence_with_its_line(read, content, says, tmp_path):
    with pytest.raises(BadConfig, match=says) as raised:
        getattr(prompt_formats, read)([(written(tmp_path, "list.jsonl", content), "")])
    assert "list.jsonl" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("read", "content"), [("partiprompts", PARTI), ("dpg_bench", DPG)])
def test_a_heading_alone_is_no_list(read, content, tmp_path):
    with pytest.raises(BadConfig, match="no prompt below it"):
        getattr(prompt_formats, read)([(written(tmp_path, "list", content.split("\n")[0]), "")])


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path):
    with pytest.raises(BadConfig, match="cannot read the prompts file"):
        prompt_formats.lines([(tmp_path / "none.txt", "")])
