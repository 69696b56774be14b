"""`codekiln submit` uploads a version once, starts a run, follows it, and ends as the run does."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from components.stage.execution import Execution
from components.stage.step import step_names
from pipelines import submitting
from pipelines.cli import main
from pipelines.estimating import estimate_training, read_prices
from pipelines.recipes import find_recipe

STATES = {"succeeds": "SUCCEEDED", "fails": "FAILED", "canceled": "CANCELED"}


class Kubeflow:
    """A double of the few calls that the kfp client makes."""

    def __init__(self, ending):
        self.ending = ending
        self.pipelines, self.versions, self.runs, self.experiments = {}, {}, [], {}
        self.uploads, self.polls, self.tokens = [], 0, set()

    def answer(self, method, path, query, body):
        wanted = re.search(r'"stringValue": "([^"]+)"', query.get("filter", ""))
        if path.endswith("/healthz"):
            return {"multi_user": False}
        if path.endswith("/upload"):
            self.uploads.append(query["name"])
            self.pipelines[query["name"]] = {
                "pipeline_id": f"p-{query['name']}",
                "display_name": query["name"],
            }
            return self.pipelines[query["name"]]
        if path.endswith("/upload_version"):
            assert b"pipelineInfo" in body
            self.uploaded = body
            self.uploads.append(query["name"])
            self.versions[query["name"]] = {
                "pipeline_id": query["pipelineid"],
                "pipeline_version_id": f"v-{query['name']}",
                "display_name": query["name"],
            }
            return self.versions[query["name"]]
        if path.endswith("/versions"):
            found = self.versions.get(wanted[1])
            return {"pipeline_versions": [found] if found else []}
        if path.endswith("/pipelines"):
            found = self.pipelines.get(wanted[1])
            return {"pipelines": [found] if found else []}
        if path.endswith("/experiments"):
            if method == "POST":
                name = json.loads(body)["display_name"]
                self.experiments[name] = {"experiment_id": "e-1", "display_name": name}
                return self.experiments[name]
            return {"experiments": [*self.experiments.values()]}
        if path.endswith("/runs"):
            self.runs.append(json.loads(body))
            return {"run_id": "r-1"}
        if path.endswith("/runs/r-1"):
            return self.run()
        return None

    def run(self):
        self.polls += 1
        done = self.polls > 2
        state = STATES[self.ending] if done else "RUNNING"
        tasks = [{"display_name": "crawl", "state": "SUCCEEDED"}]
        tasks += [{"display_name": "clean", "state": state}]
        return {"run_id": "r-1", "state": state, "run_details": {"task_details": tasks}}


@pytest.fixture
def kubeflow(request, monkeypatch):
    state = Kubeflow(getattr(request, "param", "succeeds"))
    monkeypatch.setattr(submitting, "POLL_S", 0.01)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def handle_all(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            state.tokens.add(self.headers.get("authorization"))
            value = state.answer(self.command, parts.path, query, body)
            data = json.dumps(value if value is not None else {"message": "not here"}).encode()
            self.send_response(404 if value is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = handle_all  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.host = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()


# The kfp client leaves its pool of connections to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def submit(kubeflow, *flags):
    return main(["submit", "tiny", "--host", kubeflow.host, "--data-root", "gs://b/root", *flags])


def test_a_run_is_started_with_its_parameters_and_followed_to_its_end(kubeflow, capsys):
    flags = ["--queue", "kiln", "--spot", "true", "--max-hours", "2.5", "--engine", "cluster"]
    assert submit(kubeflow, *flags, "--training.max-steps", "7") == 0
    (run,) = kubeflow.runs
    parameters = run["runtime_config"]["parameters"]
    assert parameters["data_root"] == "gs://b/root"
    assert (parameters["queue"], parameters["spot"], parameters["max_hours"]) == ("kiln", True, 2.5)
    assert parameters["training_config"]["max_steps"] == 7
    assert set(parameters) >= {"node_selector", "tolerations", "accelerator", "accelerators"}
    said = capsys.readouterr().err
    assert "crawl succeeded" in said
    assert "clean running" in said
    assert "assumed and not read from a price list, 2026-11" in said
    assert kubeflow.polls == 3


def test_a_claim_is_mounted_by_the_version_that_is_uploaded(kubeflow):
    assert submit(kubeflow, "--detach") == 0
    assert b"pvcMount" not in kubeflow.uploaded
    flags = ("--data-root", "/data", "--data-claim", "shared")
    assert submit(kubeflow, "--detach", *flags) == 0
    assert len(kubeflow.versions) == 2
    assert kubeflow.uploaded.count(b"mountPath: /data") == len(step_names())
    assert kubeflow.runs[-1]["runtime_config"]["parameters"]["data_root"] == "/data"


def test_a_version_is_uploaded_once_and_again_when_its_content_changes(kubeflow):
    assert submit(kubeflow, "--detach") == 0
    assert submit(kubeflow, "--detach", "--queue", "other") == 0
    assert len(kubeflow.uploads) == 2, "the pipeline and its version"
    assert submit(kubeflow, "--detach", "--training.max-steps", "7") == 0
    assert len(set(kubeflow.uploads)) == 3
    used = [run["pipeline_version_reference"]["pipeline_version_id"] for run in kubeflow.runs]
    assert used[0] == used[1] != used[2]


@pytest.mark.parametrize("kubeflow", ["fails", "canceled"], indirect=True)
def test_the_exit_code_is_the_runs(kubeflow, capsys):
    assert submit(kubeflow) == 1
    if kubeflow.ending == "fails":
        last = capsys.readouterr().err.splitlines()[-1]
        assert "expected run r-1 to succeed, got failed of step clean" in last


def test_a_token_comes_from_a_file_and_is_in_no_message(kubeflow, monkeypatch, tmp_path, capsys):
    (tmp_path / "token").write_text("very-secret\n")
    monkeypatch.setenv("CODEKILN_KUBEFLOW_TOKEN_FILE", str(tmp_path / "token"))
    assert submit(kubeflow, "--detach") == 0
    assert kubeflow.tokens == {"Bearer very-secret"}
    assert "very-secret" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--host", "kubeflow.example"], "expected --host as http(s)://ADDRESS"),
        (["--host", "https://me:pass@kubeflow.example"], "without a user or a password"),
        (["--host", "http://127.0.0.1:1", "--data-root", "here"], "that every pod reaches"),
        (["--host", "http://127.0.0.1:1", "--spott", "true"], "did you mean '--spot'?"),
        (["--host", "http://127.0.0.1:1", "--prices", "nowhere"], "expected a price table"),
        (["--host", "http://127.0.0.1:1"], "expected Kubeflow at"),
    ],
)
def test_what_cannot_be_submitted_is_one_line(capsys, flags, text):
    given = [] if "--data-root" in flags else ["--data-root", "gs://b/root"]
    assert main(["submit", "tiny", *given, *flags]) in (1, 2)
    last = capsys.readouterr().err.splitlines()[-1]
    assert text in last
    assert "me:pass" not in last


def test_an_estimate_grows_with_the_tokens_and_falls_with_devices_and_spot():
    config, prices = find_recipe("gpt_cc_125m").steps()["training"], read_prices()

    def usd_and_hours(**options):
        made = estimate_training(config, Execution(**options), prices)
        return made.usd, made.hours

    usd, hours = usd_and_hours(accelerator="gpu-h100", accelerators=8)
    assert usd_and_hours(accelerator="gpu-h100", accelerators=16) == pytest.approx((usd, hours / 2))
    assert usd_and_hours(accelerator="gpu-h100") == (usd, hours), "a machine has eight"
    spot = usd_and_hours(accelerator="gpu-h100", spot=True)
    assert spot == pytest.approx((usd * prices["spot_share"], hours))
