-- Version 1 of what notebooks and BI tools may rely on. A version never changes; what changes is a new one.

CREATE VIEW v_jobs AS
SELECT
  jobs.id AS job_id,
  jobs.study_id,
  studies.name AS study,
  projects.name AS project,
  users.name AS person,
  jobs.name,
  jobs.variant,
  jobs.point,
  jobs.seed,
  jobs.status,
  jobs.reason,
  datasets.name AS dataset,
  jobs.spec -> 'model' ->> 'name' AS model,
  jobs.spec -> 'norm' ->> 'kind' AS norm,
  (jobs.metrics ->> 'best_val_accuracy')::float8 AS best_val_accuracy,
  (jobs.metrics ->> 'best_val_loss')::float8 AS best_val_loss,
  (jobs.metrics ->> 'best_epoch')::float8 AS best_epoch,
  (jobs.metrics ->> 'test_accuracy')::float8 AS test_accuracy,
  (jobs.metrics ->> 'test_loss')::float8 AS test_loss,
  jobs.metrics,
  jobs.non_finite,
  jobs.spec,
  jobs.facts,
  (SELECT count(*) FROM epochs WHERE epochs.job_id = jobs.id) AS epochs,
  jobs.seconds_used AS seconds,
  jobs.attempt AS attempts,
  jobs.tags || coalesce(studies.tags, '[]'::jsonb) AS tags,
  jobs.archived_at IS NOT NULL OR studies.archived_at IS NOT NULL AS archived,
  jobs.created_at,
  jobs.started_at,
  jobs.finished_at
FROM jobs
JOIN users ON users.id = jobs.owner_id
JOIN datasets ON datasets.id = jobs.dataset_id
LEFT JOIN projects ON projects.id = jobs.project_id
LEFT JOIN studies ON studies.id = jobs.study_id
WHERE jobs.kind = 'training';

CREATE VIEW v_epochs AS
SELECT
  epochs.job_id,
  jobs.study_id,
  jobs.variant,
  jobs.point,
  jobs.seed,
  epochs.epoch,
  epochs.step,
  epochs.train_loss,
  epochs.train_cost,
  epochs.train_accuracy,
  epochs.val_loss,
  epochs.val_accuracy,
  epochs.learning_rate,
  epochs.seconds,
  epochs.extra,
  epochs.non_finite,
  epochs.recorded_at
FROM epochs
JOIN jobs ON jobs.id = epochs.job_id
WHERE jobs.kind = 'training';

CREATE VIEW v_variants AS
SELECT
  study_id,
  study,
  project,
  variant,
  point,
  count(*) AS jobs,
  count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
  count(*) FILTER (WHERE reason = 'diverged') AS diverged,
  count(*) FILTER (WHERE status = 'failed') AS failed,
  count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
  count(*) FILTER (WHERE status IN ('queued', 'running', 'paused')) AS pending,
  count(best_val_accuracy) AS n_val_accuracy,
  avg(best_val_accuracy) AS mean_val_accuracy,
  stddev_samp(best_val_accuracy) AS std_val_accuracy,
  count(best_val_loss) AS n_val_loss,
  avg(best_val_loss) AS mean_val_loss,
  stddev_samp(best_val_loss) AS std_val_loss,
  count(test_accuracy) AS n_test_accuracy,
  avg(test_accuracy) AS mean_test_accuracy,
  stddev_samp(test_accuracy) AS std_test_accuracy,
  count(test_loss) AS n_test_loss,
  avg(test_loss) AS mean_test_loss,
  stddev_samp(test_loss) AS std_test_loss
FROM v_jobs
WHERE study_id IS NOT NULL
GROUP BY study_id, study, project, variant, point;

COMMENT ON VIEW v_jobs IS 'version 1: a row per training job';
COMMENT ON VIEW v_epochs IS 'version 1: a row per job and evaluation period';
COMMENT ON VIEW v_variants IS 'version 1: a row per study, variant and matrix point';
