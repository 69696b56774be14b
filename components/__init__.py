"""codekiln's components: the shared rooms and one room a step.

Glossary, one word per thing, everywhere:

document    one source file with its provenance: repository, commit, path, licence
shard       one file of an artifact; shards are cut by the plan, never by the number of workers
artifact    what a step leaves in the data root: shards and a manifest, whole or not there at all
key         what was computed: sha256 of step, version, identity config and the parents' digests
digest      what came out: sha256 over the ordered rows
cluster     documents joined by verified near-duplicate pairs; one of them is kept
block       a fixed number of consecutive tokens, the unit of a training batch
problem     a prompt, a test and a reference solution, as in HumanEval
sample      one completion that a model wrote for a problem
verdict     what became of a sample in the sandbox: passed, failed, timeout, ...
"""
