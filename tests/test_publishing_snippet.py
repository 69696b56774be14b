"""The snippet on the model card runs as it stands in the folder that the card lies in."""

from pathlib import Path

from components.model.config import ModelConfig
from components.model.folder import export_model
from components.model.initialization import initialize
from components.publishing.model_card import SNIPPET


def test_the_cards_snippet_runs_as_it_stands(
    make_step, documents_of, document, tmp_path, monkeypatch, capsys
):
    texts = [f"def f{i}(x):\n    return x + {i}\n" for i in range(40)]
    documents = documents_of([document(f"{i}.py", text) for i, text in enumerate(texts)])
    tokenizer = make_step("tokenizer", {"documents": documents}, vocabulary_size=300).artifact
    shape = ModelConfig(
        vocabulary_size=320, context_length=256, num_layers=2, num_heads=2, hidden_size=32
    )
    files = export_model(initialize(shape, seed=0), bos_id=0, eos_id=0)
    for entry in tokenizer.part("tokenizer"):
        files[Path(entry.name).name] = tokenizer.read(entry)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    exec(compile(SNIPPET, "README.md", "exec"), {})
    shown = capsys.readouterr()
    prompt = "def greet(name):\n"
    assert shown.out.startswith(prompt)
    assert len(shown.out) > len(prompt)
    assert "warning" not in shown.err.lower()
