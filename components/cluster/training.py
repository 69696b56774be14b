"""A step of several processes as a TrainJob: from a key to the artifact in the data root.

`components/stage` calls this instead of the step's own work where the engine is `cluster`. The
first process of the TrainJob holds the lease and publishes; this one starts, adopts or replaces it,
shows that it lives, and says why where it failed.
"""

import dataclasses
import os

from components.artifacts.errors import ConfigError, StepFailedError
from components.artifacts.manifest import MANIFEST_NAME
from components.cluster.accelerators import machines_of
from components.cluster.client import ClusterClient, Manifest, Reference
from components.cluster.launching import launch, remove_and_wait, run_to_end, state_of
from components.cluster.place import Place, data_folder
from components.cluster.train_jobs import Placement, Training, config_map, train_job
from components.stage.engine import SharedStep
from components.stage.execution import Execution
from components.stage.images import image_uri

ACCOUNT_VARIABLE = "CODEKILN_TRAINING_ACCOUNT"
ACCOUNT = "codekiln-training"
"""Bound to the bucket, and to nothing of the cluster (k8s/base)."""

FSDP_VARIABLE = "CODEKILN_FSDP"
PASSED_ON = ("CODEKILN_TENSORBOARD", "CODEKILN_WANDB_PROJECT")
"""Variables of the launcher that the processes of a training get too."""


class TrainJobLauncher:
    """Has the processes of a step started by Kubeflow Trainer, see `StepLauncher`."""

    def __init__(self, execution: Execution) -> None:
        """Connect to the cluster.

        Args:
            execution: which machines, and for how long.
        """
        self._execution = execution
        self._client = ClusterClient.connect()

    def launch(self, step: SharedStep) -> None:
        """Run a step's TrainJob to its end; a launcher that comes second adopts it.

        Raises:
            ConfigError: no machines are as asked for, they do not suit the step's config, or they
                would not see the data root.
            StepFailedError: it failed, was removed, or published nothing that is seen from here.
            ClusterError: the server refuses.
        """
        training, placement = self._training(step), self._placement()
        job, configured = train_job(training, placement), config_map(training, placement)
        references = [Reference.of(job), Reference.of(configured)]
        if not self._is_made(references[0], step):
            launch(self._client, configured)
            self._run(job, references[1], step)
        held = self._client.read(references[0])
        if held is not None:
            remove_and_wait(self._client, held)
        self._client.remove(references[1])

    def _is_made(self, reference: Reference, step: SharedStep) -> bool:
        """Whether a TrainJob has published by now; one whose artifact was removed since goes."""
        held = self._client.read(reference)
        ended = held is not None and state_of(held) == "succeeded"
        if step.storage.exists(MANIFEST_NAME):  # looked at after the TrainJob: its last act
            return True
        if held is not None and ended:
            remove_and_wait(self._client, held)
        return False

    def _run(self, job: Manifest, configured: Reference, step: SharedStep) -> None:
        """Follow a TrainJob; what another launcher of the key removes at its end is made."""
        try:
            run_to_end(self._client, job, beside=[configured])
        except StepFailedError:
            if not step.storage.exists(MANIFEST_NAME):
                raise
        if not step.storage.exists(MANIFEST_NAME):
            raise StepFailedError(
                f"expected {Reference.of(job)} to publish {step.storage.uri}, found no "
                f"{MANIFEST_NAME} there: give a data root that its pods and this process reach "
                "under one name"
            )

    def _placement(self) -> Placement:
        execution = self._execution
        machines = machines_of(execution.accelerator, execution.accelerators, execution.threads)
        place = Place.of(execution, self._client.namespace, image_uri(machines.image))
        passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        return Placement(
            place=dataclasses.replace(
                place,
                service_account=os.environ.get(ACCOUNT_VARIABLE, ACCOUNT),
                environment={**place.environment, **passed},
            ),
            machines=machines,
        )

    def _training(self, step: SharedStep) -> Training:
        fsdp = os.environ.get(FSDP_VARIABLE) or "1"
        if not fsdp.isdigit():
            raise ConfigError(
                f"expected a whole number in the variable {FSDP_VARIABLE}, got {fsdp!r}"
            )
        return Training(
            step=step.name,
            key=step.key,
            config=step.config,
            inputs=step.inputs,
            data_root=data_folder(self._execution.data_root) or self._execution.data_root,
            threads=self._execution.threads,
            fsdp=int(fsdp),
        )
