-- Named queries of ccusage-importer. Each is one statement that any ClickHouse client can run in the
-- importer's database; the program's own statistics are made of them.

-- name: totals
-- What has been used in all, over which days, and how old is it?
SELECT
    sum(total_cost) AS cost,
    sum(total_tokens) AS tokens,
    sum(input_tokens) AS input,
    sum(output_tokens) AS output,
    sum(cache_creation_tokens) AS cache_creation,
    sum(cache_read_tokens) AS cache_read,
    toString(min(date)) AS first_day,
    toString(max(date)) AS last_day,
    uniqExact(date) AS days_with_usage,
    dateDiff('day', min(date), max(date)) + 1 AS days_between,
    (SELECT toUnixTimestamp(max(import_timestamp)) FROM ccusage_import_history WHERE status != 'failed') AS last_import
FROM ccusage_usage_daily FINAL;

-- name: table_rows
-- How many rows does each table hold?
SELECT table, rows
FROM
(
    SELECT 1 AS position, 'ccusage_usage_daily' AS table, count() AS rows FROM ccusage_usage_daily FINAL
    UNION ALL
    SELECT 2, 'ccusage_usage_monthly', count() FROM ccusage_usage_monthly FINAL
    UNION ALL
    SELECT 3, 'ccusage_usage_sessions', count() FROM ccusage_usage_sessions FINAL
    UNION ALL
    SELECT 4, 'ccusage_usage_blocks', count() FROM ccusage_usage_blocks FINAL
    UNION ALL
    SELECT 5, 'ccusage_usage_projects_daily', count() FROM ccusage_usage_projects_daily FINAL
    UNION ALL
    SELECT 6, 'ccusage_model_breakdowns', count() FROM ccusage_model_breakdowns FINAL
    UNION ALL
    SELECT 7, 'ccusage_models_used', count() FROM ccusage_models_used FINAL
    UNION ALL
    SELECT 8, 'ccusage_import_history', count() FROM ccusage_import_history FINAL
)
ORDER BY position;

-- name: session_totals
-- How many sessions were there, and what did one cost?
SELECT
    count() AS sessions,
    if(sessions = 0, 0, sum(total_cost) / sessions) AS average_cost,
    max(total_cost) AS highest_cost
FROM ccusage_usage_sessions FINAL;

-- name: cost_by_model
-- Which models cost the most?
SELECT
    model_name AS model,
    sum(cost) AS cost,
    sum(total_tokens) AS tokens,
    uniqExact(record_key) AS days_used
FROM ccusage_model_breakdowns FINAL
WHERE record_type = 'daily'
GROUP BY model
ORDER BY cost DESC, model;

-- name: cost_by_project
-- Which projects cost the most?
SELECT
    project_id AS project,
    sum(total_cost) AS cost,
    sum(total_tokens) AS tokens,
    uniqExact(date) AS days_used
FROM ccusage_usage_projects_daily FINAL
GROUP BY project
ORDER BY cost DESC, project;

-- name: cost_by_source
-- Which agents cost the most?
SELECT
    source AS agent,
    sum(total_cost) AS cost,
    sum(total_tokens) AS tokens,
    uniqExact(date) AS days_used
FROM ccusage_usage_daily FINAL
GROUP BY agent
ORDER BY cost DESC, agent;

-- name: cost_by_machine
-- Which machines and users cost the most?
SELECT
    concat(machine_name, ' ', user_name) AS machine_and_user,
    sum(total_cost) AS cost,
    sum(total_tokens) AS tokens,
    toString(max(date)) AS last_day
FROM ccusage_usage_daily FINAL
GROUP BY machine_name, user_name
ORDER BY cost DESC, machine_name, user_name;

-- name: active_blocks
-- Which billing blocks are running now, at what rate, and where will they end?
SELECT
    machine_name,
    user_name,
    source,
    cost_usd AS cost,
    total_tokens AS tokens,
    dateDiff('minute', now('UTC'), end_time) AS minutes_left,
    burn_rate,
    `projection` AS projected_cost
FROM ccusage_usage_blocks FINAL
WHERE is_active = 1 AND is_gap = 0 AND end_time > now('UTC')
ORDER BY start_time, source, machine_name, user_name;
