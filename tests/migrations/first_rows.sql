-- A stack as it stood with the first migration's tables: a study with a job in every status, two of its
-- claimed jobs' attempts ended, one open with a lease that has run out since.
INSERT INTO users (name, role) VALUES ('ada', 'member');
INSERT INTO tokens (user_id, name, hash)
SELECT id, 'laptop', encode(sha256('nl_a-token-from-before-the-upgrade-of-32-characters'), 'hex') FROM users;
INSERT INTO projects (name, owner_id) SELECT 'first', id FROM users;
INSERT INTO workers (host, process, seen_at) VALUES ('old', 11, now() - interval '1 day');
INSERT INTO devices (host, kind, number, name, slots) VALUES ('old', 'cpu', 0, 'a processor', 2);
INSERT INTO datasets (name, source, status, info) VALUES ('digits', '{"kind": "built_in", "name": "digits"}', 'ready',
  '{"name": "digits", "digest": "0123456789abcdef0123456789abcdef", "shape": [1, 8, 8], "classes": ["0", "1"],
    "train_size": 1437, "test_size": 360, "mean": [0.3], "std": [0.4]}');
INSERT INTO studies (project_id, owner_id, name, spec, created_at)
SELECT projects.id, owner_id, 'norms', '{"version": 1, "project": "first", "name": "norms", "base": {"dataset": {"name": "digits"},
  "model": {"name": "mlp", "hidden": [8]}}, "variants": {"none": {"norm": {"kind": "none"}}, "batch": {"norm": {"kind": "batch"}}},
  "seeds": 4, "baseline": "none", "metric": "test_accuracy"}', now() - interval '2 days' FROM projects;

INSERT INTO jobs (project_id, study_id, dataset_id, owner_id, name, variant, seed, spec, hash, status, reason, attempt,
  timeout_seconds, metrics, non_finite, error, step, created_at, queued_at, started_at, finished_at)
SELECT studies.project_id, studies.id, datasets.id, studies.owner_id, row.name, row.variant, row.seed,
  jsonb_build_object('version', 1, 'project', 'first', 'dataset', '{"name": "digits"}'::jsonb,
    'model', '{"name": "mlp", "hidden": [8]}'::jsonb, 'norm', jsonb_build_object('kind', row.variant),
    'optimizer', '{"kind": "sgd", "lr": 0.1}'::jsonb, 'training', '{"epochs": 3}'::jsonb, 'seed', row.seed),
  md5(row.name), row.status, row.reason, row.attempt, 3600, row.metrics::jsonb, row.non_finite::jsonb, row.error, row.step,
  studies.created_at, studies.created_at + row.number * interval '1 second',
  CASE WHEN row.attempt > 0 THEN studies.created_at + interval '1 minute' END,
  CASE WHEN row.reason IS NOT NULL THEN studies.created_at + interval '2 minutes' END
FROM studies, datasets, (VALUES
  (1, 'succeeded', 'none',  0, 'succeeded', 'completed', 1, '{"test_accuracy": 0.9, "best_val_accuracy": 0.8, "epochs": 2}', '{}', NULL, 20),
  (2, 'diverged',  'none',  1, 'succeeded', 'diverged',  1, '{"test_accuracy": 0.1}', '{"test_loss": "nan"}', NULL, 20),
  (3, 'failed',    'none',  2, 'failed',    'oom',       1, '{}', '{}', 'out of memory', 0),
  (4, 'cancelled', 'none',  3, 'cancelled', 'cancelled', 0, '{}', '{}', NULL, 0),
  (5, 'running',   'batch', 0, 'running',   NULL,        1, '{}', '{}', NULL, 20),
  (6, 'paused',    'batch', 1, 'paused',    NULL,        1, '{}', '{}', NULL, 20),
  (7, 'queued',    'batch', 2, 'queued',    NULL,        0, '{}', '{}', NULL, 0)
) AS row (number, name, variant, seed, status, reason, attempt, metrics, non_finite, error, step);

INSERT INTO attempts (job_id, number, host, process, started_at, ended_at, "end", counts, seconds, first_step)
SELECT id, 1, 'old', 12, started_at, CASE WHEN name <> 'running' THEN started_at + interval '1 minute' END,
  CASE name WHEN 'running' THEN NULL WHEN 'paused' THEN 'paused' WHEN 'failed' THEN 'oom' ELSE 'completed' END,
  name = 'failed', 60, 0
FROM jobs WHERE attempt = 1;
INSERT INTO leases (job_id, attempt, device_id, slot, expires_at)
SELECT jobs.id, 1, devices.id, 0, now() - interval '1 hour' FROM jobs, devices WHERE jobs.name = 'running';
INSERT INTO epochs (job_id, epoch, attempt, step, train_loss, val_loss, val_accuracy, learning_rate, seconds)
SELECT id, epoch, 1, epoch * 10, 1.0 / epoch, 1.5 / epoch, 0.1 * epoch, 0.1, 1
FROM jobs, generate_series(1, 2) AS epoch WHERE name IN ('succeeded', 'running', 'paused');
INSERT INTO epochs (job_id, epoch, attempt, step, seconds, non_finite)
SELECT id, 1, 1, 10, 1, '{"val_loss": "nan"}' FROM jobs WHERE name = 'diverged';
INSERT INTO checkpoints (job_id, attempt, kind, epoch, step, path, digest, bytes)
SELECT id, 1, kept.kind, kept.step / 10, kept.step, format('jobs/%s/attempt-1/%s.pt', id, kept.kind), md5(kept.kind), 100
FROM jobs, (VALUES ('best', 10), ('last', 20)) AS kept (kind, step) WHERE name IN ('succeeded', 'running', 'paused');
INSERT INTO files (job_id, name, path, digest, bytes)
SELECT id, 'confusion.json', format('jobs/%s/attempt-1/confusion.json', id), md5('x'), 10 FROM jobs WHERE name = 'succeeded';
INSERT INTO log_lines (job_id, attempt, level, text) SELECT id, 1, 'info', 'training from the start' FROM jobs WHERE attempt = 1;
INSERT INTO transitions (job_id, who, from_status, to_status, why) SELECT id, 'ada', NULL, 'queued', 'submitted' FROM jobs;
INSERT INTO transitions (job_id, who, from_status, to_status, why)
SELECT id, 'worker old', 'queued', 'running', 'attempt 1 on cpu 0' FROM jobs WHERE attempt = 1;
INSERT INTO transitions (job_id, who, from_status, to_status, why)
SELECT id, 'worker old', 'running', status, coalesce(reason, status) FROM jobs WHERE attempt = 1 AND status <> 'running';
INSERT INTO mirrored (job_id, run_id, experiment_id, epoch, seen_at) SELECT id, md5(name), '1', 2, now() FROM jobs WHERE name = 'succeeded';
