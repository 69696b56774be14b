"""The command `codekiln submit`: upload a recipe's graph to Kubeflow, start a run, follow it.

A version is named by its content, so submitting an unchanged recipe uploads nothing. What is given
as options of the execution enters as parameters of the run.
"""

import contextlib
import hashlib
import io
import json
import os
import tempfile
import time
import urllib.parse
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from components.artifacts.errors import ClusterError, ConfigError, StepFailedError
from components.stage.command import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    OneLineParser,
    add_config_flags,
    read_config_flags,
    say,
)
from components.stage.execution import Execution
from components.stage.step import find_step, step_names
from pipelines.compiling import (
    VERSION_HASH_DIGITS,
    compile_ir,
    pipeline_name,
    pipeline_parameters,
)
from pipelines.data_mount import DataMount, add_claim_flag
from pipelines.estimating import PRICES_FILE, estimate_training, read_prices
from pipelines.recipes import Recipe, find_recipe

EXPERIMENT = "codekiln"
TOKEN_VARIABLE = "CODEKILN_KUBEFLOW_TOKEN_FILE"
"""A file with the token that Kubeflow asks for; none where it asks for none."""

POLL_S = 10.0
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


def run_submit(argv: Sequence[str]) -> int:
    """Run the command; the exit code is that of the run."""
    arguments = _parser().parse_known(argv)
    recipe = read_config_flags(arguments, find_recipe(arguments.recipe))
    assert isinstance(recipe, Recipe)
    execution = read_config_flags(arguments, Execution())
    assert isinstance(execution, Execution)
    _check(arguments.host, execution)
    mount = DataMount.of(arguments.data_claim, execution.data_root)
    prices = read_prices(arguments.prices)
    say(f"submit: {estimate_training(recipe.steps()['training'], execution, prices)}")  # type: ignore[arg-type]
    if arguments.estimate:
        return 0
    with _named_errors(arguments.host):
        client = _connect(arguments.host, arguments.namespace)
        version = upload_version(client, recipe, mount)
        run = start_run(client, recipe, execution, version, arguments.namespace)
    say(f"submit: run {run} of {recipe.name}: {arguments.host.rstrip('/')}/#/runs/details/{run}")
    if arguments.detach:
        return 0
    try:
        with _named_errors(arguments.host):
            return follow_run(client, run)
    except KeyboardInterrupt:
        say("submit: no longer following; the run goes on, and can be ended in Kubeflow's UI")
        return EXIT_INTERRUPTED


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog="codekiln submit",
        usage="codekiln submit RECIPE --host URL --data-root URI [--STEP.NAME VALUE ...]",
        description="Upload a recipe's graph to Kubeflow Pipelines, start a run and follow it; "
        "exit 0 where it succeeded.",
        allow_abbrev=False,
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a name that `codekiln recipes` lists")
    parser.add_argument("--host", required=True, metavar="URL", help="of Kubeflow Pipelines")
    parser.add_argument(
        "--namespace", default="", help="of the run, on an installation with many users"
    )
    parser.add_argument("--detach", action="store_true", help="end once the run has started")
    parser.add_argument("--estimate", action="store_true", help="say the cost, and submit nothing")
    parser.add_argument(
        "--prices", type=Path, default=PRICES_FILE, metavar="FILE", help="a price table of your own"
    )
    add_claim_flag(parser)
    add_config_flags(
        parser.add_argument_group("execution (never changes what comes out)"), Execution
    )
    for step in step_names():
        group = parser.add_argument_group(f"recipe: {step}")
        add_config_flags(group, find_step(step).config, f"{step}.", "the recipe's")
    return parser


def _check(host: str, execution: Execution) -> None:
    address = urllib.parse.urlsplit(host)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ConfigError(f"expected --host as http(s)://ADDRESS, got {host.split('@')[-1]!r}")
    if address.username or address.password:
        raise ConfigError(
            f"expected --host without a user or a password, got one at {address.hostname!r}: put "
            f"the token into a file and name it in {TOKEN_VARIABLE}"
        )
    root = execution.data_root
    if "://" not in root and not root.startswith("/"):
        raise ConfigError(
            f"expected --data-root that every pod reaches, got {root!r}: give gs://BUCKET/FOLDER, "
            "or an absolute path and the claim that is mounted there by --data-claim"
        )


@contextlib.contextmanager
def _named_errors(host: str) -> Iterator[None]:
    """One line for what Kubeflow refuses; what its client prints and warns of is left out."""
    import kfp_server_api
    import urllib3

    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except kfp_server_api.ApiException as error:
        raise ClusterError(
            f"expected Kubeflow at {host!r} to take it, got {error.status} {_reason(error)}: "
            "look at the address, the token and the namespace"
        ) from None
    except (urllib3.exceptions.HTTPError, TimeoutError) as error:
        raise ClusterError(
            f"expected Kubeflow at {host!r}, got {type(error).__name__}: is the address right, "
            "and is a port forwarded?"
        ) from None


def _reason(error: Any) -> str:
    try:
        text = str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        text = str(error.reason)
    return " ".join(text.split())[:300]


def _connect(host: str, namespace: str) -> Any:
    from kfp import client

    file = os.environ.get(TOKEN_VARIABLE)
    try:
        token = Path(file).read_text().strip() if file else None
    except OSError as error:
        raise ConfigError(
            f"expected a token in the file that {TOKEN_VARIABLE} names, got {file!r} "
            f"({type(error).__name__})"
        ) from None
    return client.Client(host=host, existing_token=token, namespace=namespace or "kubeflow")


def upload_version(client: Any, recipe: Recipe, mount: DataMount | None = None) -> tuple[str, str]:
    """The recipe's version on the server, uploaded where it is not there yet.

    Args:
        client: of Kubeflow Pipelines.
        recipe: what is computed.
        mount: of the data root, where it is a folder.

    Returns:
        The ids of pipeline and version.
    """
    name = pipeline_name(recipe)
    with tempfile.TemporaryDirectory(prefix="codekiln-") as folder:
        path = Path(folder) / "ir.yaml"
        compile_ir(recipe, Execution(), path, mount)
        content = hashlib.sha256(path.read_bytes()).hexdigest()[:VERSION_HASH_DIGITS]
        version = f"{name}-{content}"
        pipeline = client.get_pipeline_id(name)
        if pipeline is None:
            pipeline = client.upload_pipeline(str(path), pipeline_name=name).pipeline_id
        if (found := _find_version(client, pipeline, version)) is None:
            made = client.upload_pipeline_version(str(path), version, pipeline_id=pipeline)
            found = made.pipeline_version_id
            say(f"submit: uploaded {version}")
        return pipeline, found


def _find_version(client: Any, pipeline: str, version: str) -> str | None:
    named = {"operation": "EQUALS", "key": "display_name", "stringValue": version}
    listed = client.list_pipeline_versions(pipeline, filter=json.dumps({"predicates": [named]}))
    for one in listed.pipeline_versions or ():
        if one.display_name == version:
            return str(one.pipeline_version_id)
    return None


def start_run(
    client: Any, recipe: Recipe, execution: Execution, version: tuple[str, str], namespace: str
) -> str:
    """Start a run of a version; its id."""
    experiment = client.create_experiment(EXPERIMENT, namespace=namespace or None)
    run = client.run_pipeline(
        experiment.experiment_id,
        f"{recipe.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}",
        params=pipeline_parameters(recipe, execution),
        pipeline_id=version[0],
        version_id=version[1],
        enable_caching=False,
    )
    return str(run.run_id)


def follow_run(client: Any, run_id: str) -> int:
    """Say what becomes of each task until the run ends.

    Returns:
        The exit code: 0 where it succeeded.

    Raises:
        StepFailedError: it did not.
    """
    known: dict[str, str] = {}
    while True:
        run = client.get_run(run_id)
        details = run.run_details.task_details if run.run_details else None
        for task in details or ():
            state = str(task.state)
            if task.display_name in step_names() and known.get(task.display_name) != state:
                known[task.display_name] = state
                say(f"submit: {task.display_name} {state.lower()}")
        if run.state in ENDED:
            break
        time.sleep(POLL_S)
    if run.state == "SUCCEEDED":
        return 0
    if run.state == "CANCELED":
        return EXIT_FAILED
    failed = [name for name, state in known.items() if state == "FAILED"]
    raise StepFailedError(
        f"expected run {run_id} to succeed, got {str(run.state).lower()}"
        f"{' of step ' + failed[-1] if failed else ''}: read that task's log in Kubeflow's UI, "
        "then submit again: finished steps are reused"
    )
