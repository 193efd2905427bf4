-- Named queries of ccusage-importer. Each is one statement that any ClickHouse client (25.8 or newer) can
-- run in the importer's database; the program's own statistics are made of them.
--
-- What may be tuned stands first, as literals with a name: WITH 30 AS days. Costs are US dollars. Days are
-- cut by each machine's own time zone, hours by the zone that the query names; `today` is UTC's. Tables are
-- read with FINAL, child tables for one record_type at a time, and blocks without gaps, so that nothing
-- counts twice.

-- section: Overview

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
    (SELECT toUnixTimestamp(max(import_timestamp)) FROM ccusage_import_history FINAL WHERE status != 'failed') AS last_import
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

-- name: period_totals
-- What was used today, this week, this month and this year, and in each one before?
WITH toDate(now('UTC')) AS today,
periods AS
(
    SELECT
        period.1 AS position,
        period.2 AS name,
        period.3 AS first_day,
        period.4 AS last_day
    FROM
    (
        SELECT arrayJoin(
            [
                (1, 'today', today, today),
                (2, 'yesterday', today - 1, today - 1),
                (3, 'this week', toMonday(today), today),
                (4, 'last week', toMonday(today) - 7, toMonday(today) - 1),
                (5, 'this month', toStartOfMonth(today), today),
                (6, 'last month', toStartOfMonth(today) - INTERVAL 1 MONTH, toStartOfMonth(today) - 1),
                (7, 'this year', toStartOfYear(today), today),
                (8, 'last year', toStartOfYear(today) - INTERVAL 1 YEAR, toStartOfYear(today) - 1)
            ]
        ) AS period
    )
),
per_day AS
(
    SELECT date, sum(total_cost) AS day_cost, sum(total_tokens) AS day_tokens, 1 AS used
    FROM ccusage_usage_daily FINAL
    WHERE date >= toStartOfYear(today) - INTERVAL 1 YEAR
    GROUP BY date
    UNION ALL
    SELECT today, 0, 0, 0
)
SELECT
    name AS period,
    first_day,
    last_day,
    sumIf(day_cost, date BETWEEN first_day AND last_day) AS cost,
    sumIf(day_tokens, date BETWEEN first_day AND last_day) AS tokens,
    sumIf(used, date BETWEEN first_day AND last_day) AS days_with_usage
FROM periods
CROSS JOIN per_day
GROUP BY position, name, first_day, last_day
ORDER BY position;

-- name: periods_compared
-- How do this week, month and year compare with the last one, up to the same day and in all?
WITH toDate(now('UTC')) AS today,
periods AS
(
    SELECT
        period.1 AS position,
        period.2 AS name,
        period.3 AS starts,
        period.4 AS starts_before,
        least(starts_before + (today - starts), starts - 1) AS same_day_before
    FROM
    (
        SELECT arrayJoin(
            [
                (1, 'week', toMonday(today), toMonday(today) - 7),
                (2, 'month', toStartOfMonth(today), toStartOfMonth(today) - INTERVAL 1 MONTH),
                (3, 'year', toStartOfYear(today), toStartOfYear(today) - INTERVAL 1 YEAR)
            ]
        ) AS period
    )
),
per_day AS
(
    SELECT date, sum(total_cost) AS day_cost
    FROM ccusage_usage_daily FINAL
    WHERE date BETWEEN toStartOfYear(today) - INTERVAL 1 YEAR AND today
    GROUP BY date
    UNION ALL
    SELECT today, 0
)
SELECT
    name AS period,
    sumIf(day_cost, date >= starts) AS cost,
    sumIf(day_cost, date BETWEEN starts_before AND same_day_before) AS cost_before_to_same_day,
    sumIf(day_cost, date >= starts_before AND date < starts) AS cost_before,
    cost - cost_before_to_same_day AS change,
    if(cost_before_to_same_day = 0, NULL, 100 * change / cost_before_to_same_day) AS change_percent
FROM periods
CROSS JOIN per_day
GROUP BY position, name, starts, starts_before, same_day_before
ORDER BY position;

-- name: typical_day
-- What does a day with usage cost: on average, in the middle, at its most?
WITH 90 AS days, toDate(now('UTC')) AS today,
per_day AS
(
    SELECT date, sum(total_cost) AS cost, sum(total_tokens) AS tokens
    FROM ccusage_usage_daily FINAL
    WHERE date > today - days
    GROUP BY date
)
SELECT
    count() AS days_with_usage,
    if(days_with_usage = 0, 0, sum(cost) / days_with_usage) AS average_cost,
    if(days_with_usage = 0, 0, quantileExact(0.5)(cost)) AS median_cost,
    if(days_with_usage = 0, 0, quantileExact(0.9)(cost)) AS ninetieth_percentile_cost,
    max(cost) AS highest_cost,
    if(days_with_usage = 0, 0, sum(tokens) / days_with_usage) AS average_tokens
FROM per_day;

-- name: token_kinds
-- What are the tokens made of: input, output, cache written, cache read, others?
WITH sums AS
(
    SELECT
        sum(input_tokens) AS input,
        sum(output_tokens) AS output,
        sum(cache_creation_tokens) AS cache_creation,
        sum(cache_read_tokens) AS cache_read,
        sum(total_tokens) AS total
    FROM ccusage_usage_daily FINAL
),
kinds AS
(
    SELECT
        total,
        arrayJoin(
            [
                (1, 'input', toInt64(input)),
                (2, 'output', toInt64(output)),
                (3, 'cache written', toInt64(cache_creation)),
                (4, 'cache read', toInt64(cache_read)),
                (5, 'others', toInt64(total) - toInt64(input + output + cache_creation + cache_read))
            ]
        ) AS kind
    FROM sums
)
SELECT
    kind.2 AS kind_of_tokens,
    kind.3 AS tokens,
    if(total = 0, 0, 100 * tokens / total) AS percent
FROM kinds
ORDER BY kind.1;

-- section: Daily

-- name: daily_trend
-- What did each of the last days cost, days off included, and what is the average of a week?
WITH 30 AS days, toDate(now('UTC')) AS today,
per_day AS
(
    SELECT date, sum(day_cost) AS cost, sum(day_tokens) AS tokens
    FROM
    (
        SELECT date, total_cost AS day_cost, total_tokens AS day_tokens
        FROM ccusage_usage_daily FINAL
        WHERE date > today - days - 6
        UNION ALL
        SELECT today - arrayJoin(range(days + 6)), 0, 0
    )
    GROUP BY date
),
averaged AS
(
    SELECT
        date,
        cost,
        tokens,
        avg(cost) OVER (ORDER BY date ROWS BETWEEN 6 PRECEDING AND CURRENT ROW) AS average_of_7_days
    FROM per_day
)
SELECT date, cost, tokens, average_of_7_days
FROM averaged
WHERE date > today - days
ORDER BY date;

-- name: day_to_day
-- How much more or less did each day cost than the day before?
WITH 30 AS days, toDate(now('UTC')) AS today,
per_day AS
(
    SELECT date, sum(day_cost) AS cost, sum(day_tokens) AS tokens
    FROM
    (
        SELECT date, total_cost AS day_cost, total_tokens AS day_tokens
        FROM ccusage_usage_daily FINAL
        WHERE date >= today - days
        UNION ALL
        SELECT today - arrayJoin(range(days + 1)), 0, 0
    )
    GROUP BY date
),
compared AS
(
    SELECT
        date,
        cost,
        tokens,
        lagInFrame(cost) OVER (ORDER BY date ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS cost_before
    FROM per_day
)
SELECT
    date,
    cost,
    tokens,
    cost_before,
    cost - cost_before AS change,
    if(cost_before = 0, NULL, 100 * change / cost_before) AS change_percent
FROM compared
WHERE date > today - days
ORDER BY date DESC;

-- name: most_expensive_days
-- Which days cost the most, and how many times the average day?
WITH 10 AS top,
per_day AS
(
    SELECT date, sum(total_cost) AS cost, sum(total_tokens) AS tokens
    FROM ccusage_usage_daily FINAL
    GROUP BY date
),
averaged AS
(
    SELECT date, cost, tokens, avg(cost) OVER () AS average_cost
    FROM per_day
)
SELECT
    date,
    cost,
    tokens,
    if(average_cost = 0, 0, cost / average_cost) AS times_average
FROM averaged
ORDER BY cost DESC, date
LIMIT top;

-- name: week_over_week
-- How much more or less did each week, Monday to Sunday, cost than the week before?
WITH 12 AS weeks, toDate(now('UTC')) AS today,
per_week AS
(
    SELECT week, sum(day_cost) AS cost, sum(day_tokens) AS tokens
    FROM
    (
        SELECT toMonday(date) AS week, total_cost AS day_cost, total_tokens AS day_tokens
        FROM ccusage_usage_daily FINAL
        WHERE date >= toMonday(today) - 7 * weeks
        UNION ALL
        SELECT toMonday(today) - 7 * arrayJoin(range(weeks + 1)), 0, 0
    )
    GROUP BY week
),
compared AS
(
    SELECT
        week,
        cost,
        tokens,
        lagInFrame(cost) OVER (ORDER BY week ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS cost_before
    FROM per_week
)
SELECT
    week,
    cost,
    tokens,
    cost_before,
    cost - cost_before AS change,
    if(cost_before = 0, NULL, 100 * change / cost_before) AS change_percent
FROM compared
WHERE week > toMonday(today) - 7 * weeks
ORDER BY week DESC;

-- name: streaks
-- How many days in a row have had usage, now (today may be still to come) and at most?
WITH toDate(now('UTC')) AS today,
used_days AS
(
    SELECT DISTINCT date
    FROM ccusage_usage_daily FINAL
),
numbered AS
(
    SELECT date, date - row_number() OVER (ORDER BY date) AS run
    FROM used_days
),
runs AS
(
    SELECT min(date) AS first_day, max(date) AS last_day, count() AS length
    FROM numbered
    GROUP BY run
)
SELECT
    maxIf(length, last_day >= today - 1) AS current_streak,
    if(current_streak = 0, NULL, maxIf(first_day, last_day >= today - 1)) AS current_since,
    max(length) AS longest_streak,
    if(longest_streak = 0, NULL, argMax(first_day, (length, first_day))) AS longest_from,
    if(longest_streak = 0, NULL, argMax(last_day, (length, first_day))) AS longest_to
FROM runs;

-- name: longest_streaks
-- Which were the longest runs of days with usage, and what did they cost?
WITH 10 AS top,
used_days AS
(
    SELECT date, sum(total_cost) AS day_cost
    FROM ccusage_usage_daily FINAL
    GROUP BY date
),
numbered AS
(
    SELECT date, day_cost, date - row_number() OVER (ORDER BY date) AS run
    FROM used_days
)
SELECT
    count() AS days_in_a_row,
    min(date) AS first_day,
    max(date) AS last_day,
    sum(day_cost) AS cost
FROM numbered
GROUP BY run
ORDER BY days_in_a_row DESC, first_day DESC
LIMIT top;

-- section: Models

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

-- name: model_share
-- What part of the cost and of the tokens does each model take?
WITH 30 AS days, toDate(now('UTC')) AS today,
per_model AS
(
    SELECT model_name AS model, sum(cost) AS model_cost, sum(total_tokens) AS model_tokens
    FROM ccusage_model_breakdowns FINAL
    WHERE record_type = 'daily' AND record_key > toString(today - days)
    GROUP BY model
),
shared AS
(
    SELECT
        model,
        model_cost,
        model_tokens,
        sum(model_cost) OVER () AS all_cost,
        sum(model_tokens) OVER () AS all_tokens
    FROM per_model
)
SELECT
    model,
    model_cost AS cost,
    if(all_cost = 0, 0, 100 * model_cost / all_cost) AS cost_percent,
    model_tokens AS tokens,
    if(all_tokens = 0, 0, 100 * model_tokens / all_tokens) AS tokens_percent
FROM shared
ORDER BY cost DESC, model;

-- name: model_days
-- What did each model cost on each of the last days?
WITH 30 AS days, toDate(now('UTC')) AS today
SELECT
    toDateOrZero(record_key) AS date,
    model_name AS model,
    sum(cost) AS cost,
    sum(total_tokens) AS tokens
FROM ccusage_model_breakdowns FINAL
WHERE record_type = 'daily' AND record_key > toString(today - days)
GROUP BY record_key, model
ORDER BY record_key, cost DESC, model;

-- name: model_months
-- How does the mix of models change from month to month?
WITH 12 AS months, toDate(now('UTC')) AS today,
per_model AS
(
    SELECT
        record_key AS month,
        model_name AS model,
        sum(cost) AS model_cost,
        sum(total_tokens) AS model_tokens
    FROM ccusage_model_breakdowns FINAL
    WHERE record_type = 'monthly' AND record_key > formatDateTime(today - toIntervalMonth(months), '%Y-%m')
    GROUP BY month, model
),
shared AS
(
    SELECT month, model, model_cost, model_tokens, sum(model_cost) OVER (PARTITION BY month) AS month_cost
    FROM per_model
)
SELECT
    month,
    model,
    model_cost AS cost,
    if(month_cost = 0, 0, 100 * model_cost / month_cost) AS percent_of_month,
    model_tokens AS tokens
FROM shared
ORDER BY month DESC, cost DESC, model;

-- name: tokens_per_dollar
-- How many tokens does a dollar buy of each model, and how many that it wrote?
WITH per_model AS
(
    SELECT
        model_name AS model,
        sum(cost) AS model_cost,
        sum(total_tokens) AS tokens,
        sum(output_tokens) AS output
    FROM ccusage_model_breakdowns FINAL
    WHERE record_type = 'daily'
    GROUP BY model
)
SELECT
    model,
    model_cost AS cost,
    if(model_cost = 0, NULL, tokens / model_cost) AS tokens_per_dollar,
    if(model_cost = 0, NULL, output / model_cost) AS output_tokens_per_dollar
FROM per_model
ORDER BY tokens_per_dollar DESC NULLS LAST, model;

-- name: dearest_models
-- Which models are the dearest per million tokens, as they are used here?
WITH per_model AS
(
    SELECT
        model_name AS model,
        sum(cost) AS model_cost,
        sum(total_tokens) AS tokens,
        sum(output_tokens) AS output
    FROM ccusage_model_breakdowns FINAL
    WHERE record_type = 'daily'
    GROUP BY model
)
SELECT
    model,
    if(tokens = 0, 0, 1000000 * model_cost / tokens) AS cost_per_million_tokens,
    if(output = 0, NULL, 1000000 * model_cost / output) AS cost_per_million_output_tokens,
    model_cost AS cost
FROM per_model
ORDER BY cost_per_million_tokens DESC, model;

-- name: models_compared
-- What does each model cost in this month (or week), and what did it in the one before, to the same day?
WITH 'month' AS period,
toDate(now('UTC')) AS today,
toDate(if(period = 'week', toMonday(today), toStartOfMonth(today))) AS first_day,
toDate(if(period = 'week', first_day - 7, addMonths(first_day, -1))) AS first_day_before,
used AS
(
    SELECT
        model_name,
        toDateOrZero(record_key) AS day,
        cost
    FROM ccusage_model_breakdowns FINAL
    WHERE record_type = 'daily' AND day >= first_day_before
)
SELECT
    toString(model_name) AS model,
    sumIf(used.cost, day >= first_day) AS cost,
    sumIf(used.cost, day < first_day AND day <= first_day_before + (today - first_day)) AS cost_before_to_same_day,
    sumIf(used.cost, day < first_day) AS cost_before
FROM used
GROUP BY model
ORDER BY cost DESC, model;

-- name: new_models
-- When was each model first used, and when last, the newest first?
WITH toDate(now('UTC')) AS today
SELECT
    model_name AS model,
    toDateOrZero(min(record_key)) AS first_day,
    toDateOrZero(max(record_key)) AS last_day,
    uniqExact(record_key) AS days_used,
    dateDiff('day', last_day, today) AS days_since
FROM ccusage_models_used FINAL
WHERE record_type = 'daily'
GROUP BY model
ORDER BY first_day DESC, model;

-- section: Projects

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

-- name: project_days
-- What did each project cost on each of the last days?
WITH 30 AS days, toDate(now('UTC')) AS today
SELECT
    date,
    project_id AS project,
    sum(total_cost) AS cost,
    sum(total_tokens) AS tokens
FROM ccusage_usage_projects_daily FINAL
WHERE date > today - days
GROUP BY date, project
ORDER BY date, cost DESC, project;

-- name: project_months
-- What does each project cost from month to month, and when was it begun?
WITH 12 AS months, toDate(now('UTC')) AS today
SELECT
    toStartOfMonth(date) AS month,
    project_id AS project,
    sum(total_cost) AS cost,
    sum(total_tokens) AS tokens,
    uniqExact(date) AS days_used,
    min(date) AS first_day,
    max(date) AS last_day
FROM ccusage_usage_projects_daily FINAL
WHERE date >= toStartOfMonth(today) - toIntervalMonth(months - 1)
GROUP BY month, project
ORDER BY month DESC, cost DESC, project;

-- name: project_efficiency
-- Which projects pay the most per million tokens and per day, and how well do they use the cache?
WITH per_project AS
(
    SELECT
        project_id AS project,
        sum(total_cost) AS cost,
        sum(total_tokens) AS tokens,
        sum(output_tokens) AS output,
        sum(cache_read_tokens) AS cache_read,
        sum(input_tokens + cache_creation_tokens + cache_read_tokens) AS sent,
        uniqExact(date) AS days_used
    FROM ccusage_usage_projects_daily FINAL
    GROUP BY project
)
SELECT
    project,
    cost,
    if(tokens = 0, 0, 1000000 * cost / tokens) AS cost_per_million_tokens,
    if(days_used = 0, 0, cost / days_used) AS cost_per_day_used,
    if(sent = 0, 0, 100 * cache_read / sent) AS cache_hit_percent,
    if(tokens = 0, 0, 100 * output / tokens) AS output_percent
FROM per_project
ORDER BY cost_per_million_tokens DESC, project;

-- name: project_concentration
-- How much of the cost do the dearest projects make up together?
WITH per_project AS
(
    SELECT project_id AS project, sum(total_cost) AS cost
    FROM ccusage_usage_projects_daily FINAL
    GROUP BY project
),
ranked AS
(
    SELECT
        project,
        cost,
        row_number() OVER (ORDER BY cost DESC, project) AS rank,
        sum(cost) OVER () AS all_cost,
        sum(cost) OVER (ORDER BY cost DESC, project ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS cost_so_far
    FROM per_project
)
SELECT
    rank,
    project,
    cost,
    if(all_cost = 0, 0, 100 * cost / all_cost) AS percent,
    if(all_cost = 0, 0, 100 * cost_so_far / all_cost) AS percent_together
FROM ranked
ORDER BY rank;

-- name: projects_on_several_machines
-- Which projects are worked on from more than one machine?
SELECT
    project_id AS project,
    uniqExact(machine_name) AS machines,
    arrayStringConcat(arraySort(groupUniqArray(toString(machine_name))), ', ') AS machine_names,
    sum(total_cost) AS cost,
    max(date) AS last_day
FROM ccusage_usage_projects_daily FINAL
GROUP BY project
HAVING machines > 1
ORDER BY cost DESC, project;

-- name: project_models
-- Which models does each project use?
WITH per_model AS
(
    SELECT
        substring(record_key, 12) AS project,
        model_name AS model,
        sum(cost) AS model_cost,
        sum(total_tokens) AS model_tokens
    FROM ccusage_model_breakdowns FINAL
    WHERE record_type = 'project_daily'
    GROUP BY project, model
),
shared AS
(
    SELECT project, model, model_cost, model_tokens, sum(model_cost) OVER (PARTITION BY project) AS project_cost
    FROM per_model
)
SELECT
    project,
    model,
    model_cost AS cost,
    if(project_cost = 0, 0, 100 * model_cost / project_cost) AS percent_of_project,
    model_tokens AS tokens
FROM shared
ORDER BY project_cost DESC, project, cost DESC, model;

-- section: Sessions

-- name: session_totals
-- How many sessions were there, and what did one cost?
SELECT
    count() AS sessions,
    if(sessions = 0, 0, sum(total_cost) / sessions) AS average_cost,
    max(total_cost) AS highest_cost
FROM ccusage_usage_sessions FINAL;

-- name: dearest_sessions
-- Which sessions cost the most?
WITH 20 AS top
SELECT
    session_id,
    project_path AS project,
    source AS agent,
    machine_name,
    user_name,
    last_activity,
    total_cost AS cost,
    total_tokens AS tokens,
    models_count AS models
FROM ccusage_usage_sessions FINAL
ORDER BY total_cost DESC, session_id, source, machine_name, user_name
LIMIT top;

-- name: longest_sessions
-- Which sessions went on for the longest time, from their first message to their last?
WITH 20 AS top
SELECT
    session_id,
    project_path AS project,
    source AS agent,
    machine_name,
    user_name,
    assumeNotNull(first_activity) AS first_message,
    last_activity AS last_message,
    dateDiff('minute', first_message, last_message) AS minutes,
    total_cost AS cost,
    total_tokens AS tokens
FROM ccusage_usage_sessions FINAL
WHERE first_activity IS NOT NULL AND last_activity >= first_activity
ORDER BY minutes DESC, session_id, source, machine_name, user_name
LIMIT top;

-- name: session_cost_distribution
-- How many sessions cost how much?
WITH buckets AS
(
    SELECT
        multiIf(
            total_cost < 0.01, (1, 'below 0.01'),
            total_cost < 0.1, (2, '0.01 to 0.1'),
            total_cost < 1, (3, '0.1 to 1'),
            total_cost < 5, (4, '1 to 5'),
            total_cost < 10, (5, '5 to 10'),
            total_cost < 50, (6, '10 to 50'),
            (7, '50 and more')
        ) AS bucket,
        count() AS sessions,
        sum(total_cost) AS cost
    FROM ccusage_usage_sessions FINAL
    GROUP BY bucket
),
shared AS
(
    SELECT bucket, sessions, cost, sum(sessions) OVER () AS all_sessions, sum(cost) OVER () AS all_cost
    FROM buckets
)
SELECT
    bucket.2 AS dollars,
    sessions,
    100 * sessions / all_sessions AS percent_of_sessions,
    cost,
    if(all_cost = 0, 0, 100 * cost / all_cost) AS percent_of_cost
FROM shared
ORDER BY bucket.1;

-- name: session_percentiles
-- What does a session cost, and how many tokens and minutes does it take, in the middle and at the ends?
WITH levels AS
(
    SELECT arrayJoin([(1, 10), (2, 25), (3, 50), (4, 75), (5, 90), (6, 99)]) AS level
),
sessions AS
(
    SELECT
        arraySort(groupArray(total_cost)) AS costs,
        arraySort(groupArray(total_tokens)) AS tokens_of_each,
        arraySort(groupArrayIf(dateDiff('minute', first_activity, last_activity), first_activity IS NOT NULL)) AS minutes_of_each
    FROM ccusage_usage_sessions FINAL
)
SELECT
    level.2 AS percent_of_sessions,
    costs[toUInt32(ceil(length(costs) * level.2 / 100))] AS cost_at_most,
    tokens_of_each[toUInt32(ceil(length(tokens_of_each) * level.2 / 100))] AS tokens_at_most,
    minutes_of_each[toUInt32(ceil(length(minutes_of_each) * level.2 / 100))] AS minutes_at_most
FROM levels
CROSS JOIN sessions
WHERE notEmpty(costs)
ORDER BY level.1;

-- name: session_days
-- How many sessions ended on each of the last days, UTC, and what did they cost?
WITH 30 AS days, toDate(now('UTC')) AS today
SELECT
    toDate(last_activity) AS date,
    count() AS sessions,
    sum(total_cost) AS cost,
    if(sessions = 0, 0, cost / sessions) AS cost_per_session
FROM ccusage_usage_sessions FINAL
WHERE last_activity >= toDateTime(today - days + 1, 'UTC')
GROUP BY date
ORDER BY date;

-- name: sessions_by_project
-- How many sessions did each project have, and what did one cost?
SELECT
    if(project_path = '', 'unknown', project_path) AS project,
    count() AS sessions,
    sum(total_cost) AS cost,
    if(sessions = 0, 0, cost / sessions) AS cost_per_session,
    if(sessions = 0, 0, sum(total_tokens) / sessions) AS tokens_per_session
FROM ccusage_usage_sessions FINAL
GROUP BY project
ORDER BY cost DESC, project;

-- section: Time

-- name: hours_of_day
-- At which hours do billing blocks start, and what do they cost?
WITH 'UTC' AS zone
SELECT
    hour,
    sum(block_count) AS blocks,
    sum(block_cost) AS cost,
    sum(block_tokens) AS tokens
FROM
(
    SELECT toHour(start_time, zone) AS hour, 1 AS block_count, cost_usd AS block_cost, total_tokens AS block_tokens
    FROM ccusage_usage_blocks FINAL
    WHERE is_gap = 0
    UNION ALL
    SELECT arrayJoin(range(24)), 0, 0, 0
)
GROUP BY hour
ORDER BY hour;

-- name: days_of_week
-- Which days of the week cost the most (1 is Monday)?
WITH per_day AS
(
    SELECT date, sum(total_cost) AS day_cost, sum(total_tokens) AS day_tokens, 1 AS used
    FROM ccusage_usage_daily FINAL
    GROUP BY date
    UNION ALL
    SELECT toDate('2024-01-01') + arrayJoin(range(7)), 0, 0, 0
)
SELECT
    toDayOfWeek(date) AS day_of_week,
    arrayElement(
        ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'], day_of_week
    ) AS name,
    sum(used) AS days_used,
    sum(day_cost) AS cost,
    sum(day_tokens) AS tokens,
    if(days_used = 0, 0, cost / days_used) AS cost_per_day_used
FROM per_day
GROUP BY day_of_week
ORDER BY day_of_week;

-- name: hours_of_week
-- At which hours of which days of the week do billing blocks start, and what do they cost?
WITH 'UTC' AS zone
SELECT
    day_of_week,
    hour,
    sum(block_count) AS blocks,
    sum(block_cost) AS cost
FROM
(
    SELECT
        toDayOfWeek(start_time, 0, zone) AS day_of_week,
        toHour(start_time, zone) AS hour,
        1 AS block_count,
        cost_usd AS block_cost
    FROM ccusage_usage_blocks FINAL
    WHERE is_gap = 0
    UNION ALL
    SELECT arrayJoin(range(1, 8)), arrayJoin(range(24)), 0, 0
)
GROUP BY day_of_week, hour
ORDER BY day_of_week, hour;

-- name: weeks
-- What did each week cost, on how many days?
WITH 26 AS weeks, toDate(now('UTC')) AS today
SELECT
    toMonday(date) AS week,
    uniqExact(date) AS days_used,
    sum(total_cost) AS cost,
    sum(total_tokens) AS tokens,
    if(days_used = 0, 0, cost / days_used) AS cost_per_day_used
FROM ccusage_usage_daily FINAL
WHERE date > toMonday(today) - 7 * weeks
GROUP BY week
ORDER BY week DESC;

-- name: months
-- What did each month cost, and how much more or less than the month before?
WITH per_month AS
(
    SELECT
        month,
        sum(total_cost) AS cost,
        sum(total_tokens) AS tokens
    FROM ccusage_usage_monthly FINAL
    GROUP BY month
),
compared AS
(
    SELECT
        month,
        cost,
        tokens,
        lagInFrame(toNullable(cost)) OVER (ORDER BY month ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS cost_before
    FROM per_month
)
SELECT
    month,
    cost,
    tokens,
    cost - cost_before AS change,
    if(cost_before = 0, NULL, 100 * change / cost_before) AS change_percent,
    if(tokens = 0, 0, 1000000 * cost / tokens) AS cost_per_million_tokens
FROM compared
ORDER BY month DESC;

-- name: heatmap
-- What did each day of the last year cost, days off included?
WITH 365 AS days, toDate(now('UTC')) AS today
SELECT
    date,
    toDayOfWeek(date) AS day_of_week,
    sum(day_cost) AS cost,
    sum(day_tokens) AS tokens
FROM
(
    SELECT date, total_cost AS day_cost, total_tokens AS day_tokens
    FROM ccusage_usage_daily FINAL
    WHERE date > today - days
    UNION ALL
    SELECT today - arrayJoin(range(days)), 0, 0
)
GROUP BY date
ORDER BY date;

-- section: Cache

-- name: cache_hit_ratio
-- What part of the tokens that were sent came from the prompt cache, and how often was a cached token read?
WITH sums AS
(
    SELECT
        sum(input_tokens) AS input,
        sum(cache_creation_tokens) AS cache_creation,
        sum(cache_read_tokens) AS cache_read,
        input + cache_creation + cache_read AS sent
    FROM ccusage_usage_daily FINAL
)
SELECT
    input,
    cache_creation,
    cache_read,
    if(sent = 0, 0, 100 * cache_read / sent) AS hit_percent,
    if(cache_creation = 0, NULL, cache_read / cache_creation) AS reads_per_written_token
FROM sums;

-- name: cache_days
-- How well did the prompt cache work on each of the last days?
WITH 30 AS days, toDate(now('UTC')) AS today,
per_day AS
(
    SELECT
        date,
        sum(input_tokens + cache_creation_tokens + cache_read_tokens) AS sent,
        sum(cache_creation_tokens) AS cache_creation,
        sum(cache_read_tokens) AS cache_read
    FROM ccusage_usage_daily FINAL
    WHERE date > today - days
    GROUP BY date
)
SELECT
    date,
    cache_creation,
    cache_read,
    if(sent = 0, 0, 100 * cache_read / sent) AS hit_percent
FROM per_day
ORDER BY date;

-- name: cache_by_model
-- With which models does the prompt cache work best?
WITH per_model AS
(
    SELECT
        model_name AS model,
        sum(input_tokens + cache_creation_tokens + cache_read_tokens) AS sent,
        sum(cache_creation_tokens) AS cache_creation,
        sum(cache_read_tokens) AS cache_read
    FROM ccusage_model_breakdowns FINAL
    WHERE record_type = 'daily'
    GROUP BY model
)
SELECT
    model,
    cache_creation,
    cache_read,
    if(sent = 0, 0, 100 * cache_read / sent) AS hit_percent
FROM per_model
ORDER BY hit_percent DESC, model;

-- name: cache_savings
-- How much would each model have cost without the prompt cache, and what has the cache saved?
WITH 5 AS claude_output, 8 AS other_output, 1.25 AS cache_write, 0.1 AS cache_hit,
-- An estimate from the stored data alone. What a model charges for output, for a cache write and for a cache
-- read are multiples of its price of input (above: output of Claude, of the others; writes for five minutes),
-- so its cost and its four kinds of tokens give that price. Without a cache, all that was sent is input.
per_model AS
(
    SELECT
        model_name AS model,
        sum(cost) AS model_cost,
        sum(input_tokens) AS input,
        sum(output_tokens) AS output,
        sum(cache_creation_tokens) AS cache_creation,
        sum(cache_read_tokens) AS cache_read
    FROM ccusage_model_breakdowns FINAL
    WHERE record_type = 'daily'
    GROUP BY model
),
weighed AS
(
    SELECT
        model,
        model_cost,
        if(model LIKE '%claude%', claude_output, other_output) * output AS output_weight,
        input + output_weight + cache_write * cache_creation + cache_hit * cache_read AS weight,
        input + output_weight + cache_creation + cache_read AS weight_without_cache
    FROM per_model
)
SELECT
    model,
    model_cost AS cost,
    if(weight = 0, 0, model_cost / weight * weight_without_cache) AS cost_without_cache,
    cost_without_cache - cost AS saved,
    if(cost_without_cache = 0, 0, 100 * saved / cost_without_cache) AS saved_percent
FROM weighed
ORDER BY saved DESC, model;

-- name: cache_savings_by_month
-- What has the prompt cache saved in each month, estimated as in cache_savings?
WITH 5 AS claude_output, 8 AS other_output, 1.25 AS cache_write, 0.1 AS cache_hit,
per_model AS
(
    SELECT
        record_key AS month,
        model_name AS model,
        sum(cost) AS model_cost,
        sum(input_tokens) AS input,
        sum(output_tokens) AS output,
        sum(cache_creation_tokens) AS cache_creation,
        sum(cache_read_tokens) AS cache_read
    FROM ccusage_model_breakdowns FINAL
    WHERE record_type = 'monthly'
    GROUP BY month, model
),
weighed AS
(
    SELECT
        month,
        model_cost,
        if(model LIKE '%claude%', claude_output, other_output) * output AS output_weight,
        input + output_weight + cache_write * cache_creation + cache_hit * cache_read AS weight,
        input + output_weight + cache_creation + cache_read AS weight_without_cache
    FROM per_model
)
SELECT
    month,
    sum(model_cost) AS cost,
    sum(if(weight = 0, 0, model_cost / weight * weight_without_cache)) AS cost_without_cache,
    cost_without_cache - cost AS saved
FROM weighed
GROUP BY month
ORDER BY month DESC;

-- section: Blocks

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

-- name: burn_rate_against_history
-- Does the running block burn more dollars an hour than the blocks before it?
WITH 90 AS days, toDate(now('UTC')) AS today,
-- ccusage tells a burn rate of the running block only, from its first message on; to compare like with like,
-- the rate of every block is taken here from the block's start to its last message.
ended AS
(
    SELECT
        machine_name,
        user_name,
        source,
        cost_usd / greatest(dateDiff('minute', start_time, ifNull(actual_end_time, end_time)), 1) * 60 AS rate
    FROM ccusage_usage_blocks FINAL
    WHERE start_time >= toDateTime(today - days, 'UTC') AND is_gap = 0 AND NOT (is_active = 1 AND end_time > now('UTC'))
),
history AS
(
    SELECT
        machine_name,
        user_name,
        source,
        count() AS blocks_before,
        quantileExact(0.5)(rate) AS median_rate,
        quantileExact(0.9)(rate) AS high_rate
    FROM ended
    GROUP BY machine_name, user_name, source
),
running AS
(
    SELECT
        machine_name,
        user_name,
        source,
        block_id,
        burn_rate,
        cost_usd / greatest(dateDiff('minute', start_time, ifNull(actual_end_time, now('UTC'))), 1) * 60 AS rate
    FROM ccusage_usage_blocks FINAL
    WHERE start_time >= toDateTime(today - days, 'UTC') AND is_gap = 0 AND is_active = 1 AND end_time > now('UTC')
)
SELECT
    running.machine_name AS machine_name,
    running.user_name AS user_name,
    running.source AS source,
    running.block_id AS block_id,
    running.burn_rate AS burn_rate_by_ccusage,
    running.rate AS rate_now,
    ifNull(history.median_rate, 0) AS median_rate_before,
    ifNull(history.high_rate, 0) AS ninetieth_percentile,
    if(median_rate_before = 0, NULL, rate_now / median_rate_before) AS times_median,
    ifNull(history.blocks_before, 0) AS blocks_compared
FROM running
LEFT JOIN history
    ON history.machine_name = running.machine_name
    AND history.user_name = running.user_name
    AND history.source = running.source
ORDER BY machine_name, user_name, source, block_id;

-- name: blocks_near_limit
-- Which blocks came close to the largest one, which is the best guess of the plan's limit?
WITH 80 AS percent, 50 AS top,
measured AS
(
    SELECT
        user_name,
        source,
        machine_name,
        block_id,
        start_time,
        total_tokens,
        cost_usd,
        max(total_tokens) OVER (PARTITION BY user_name, source) AS largest
    FROM ccusage_usage_blocks FINAL
    WHERE is_gap = 0
)
SELECT
    user_name,
    source,
    machine_name,
    start_time,
    total_tokens AS tokens,
    if(largest = 0, 0, 100 * total_tokens / largest) AS percent_of_largest,
    cost_usd AS cost
FROM measured
WHERE largest > 0 AND 100 * total_tokens >= percent * largest
ORDER BY percent_of_largest DESC, start_time DESC, user_name, source, machine_name, block_id
LIMIT top;

-- name: blocks_at_limit
-- Which blocks ran into the plan's usage limit, and when did it reset?
SELECT
    start_time,
    machine_name,
    user_name,
    source,
    assumeNotNull(usage_limit_reset_time) AS limit_reset,
    total_tokens AS tokens,
    cost_usd AS cost
FROM ccusage_usage_blocks FINAL
WHERE is_gap = 0 AND usage_limit_reset_time IS NOT NULL
ORDER BY start_time DESC, source, machine_name, user_name, block_id;

-- name: longest_gaps
-- Which were the longest pauses between two blocks, from the last message to the next block's start?
WITH 20 AS top,
ordered AS
(
    SELECT
        machine_name,
        user_name,
        source,
        ifNull(actual_end_time, end_time) AS gap_start,
        leadInFrame(toNullable(start_time)) OVER (
            PARTITION BY machine_name, user_name, source
            ORDER BY start_time, block_id
            ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING
        ) AS next_start
    FROM ccusage_usage_blocks FINAL
    WHERE is_gap = 0
)
SELECT
    machine_name,
    user_name,
    source,
    gap_start,
    assumeNotNull(next_start) AS gap_end,
    dateDiff('minute', gap_start, gap_end) / 60 AS hours
FROM ordered
WHERE next_start IS NOT NULL AND next_start > gap_start
ORDER BY hours DESC, gap_start DESC, machine_name, user_name, source
LIMIT top;

-- name: block_days
-- How many blocks were started on each of the last days, UTC, and what did they cost?
WITH 30 AS days, toDate(now('UTC')) AS today
SELECT
    toDate(start_time) AS date,
    count() AS blocks,
    sum(cost_usd) AS cost,
    sum(total_tokens) AS tokens,
    sum(entries) AS messages,
    max(cost_usd) AS highest_cost
FROM ccusage_usage_blocks FINAL
WHERE start_time >= toDateTime(today - days + 1, 'UTC') AND is_gap = 0
GROUP BY date
ORDER BY date;

-- name: typical_block
-- What does a billing block hold, on average, in the middle and at its most?
SELECT
    user_name,
    source,
    count() AS blocks,
    avg(cost_usd) AS average_cost,
    quantileExact(0.5)(cost_usd) AS median_cost,
    max(cost_usd) AS highest_cost,
    quantileExact(0.5)(total_tokens) AS median_tokens,
    max(total_tokens) AS most_tokens,
    avg(entries) AS average_messages
FROM ccusage_usage_blocks FINAL
WHERE is_gap = 0
GROUP BY user_name, source
ORDER BY blocks DESC, user_name, source;

-- section: Forecasts

-- name: month_end
-- What will this month have cost at its end, at the pace of the last whole days?
WITH 14 AS days, toDate(now('UTC')) AS today,
-- The month so far, and for each day to come the average of the last whole days, days off included; for today
-- that average, too, unless today has cost more already.
sums AS
(
    SELECT
        sumIf(total_cost, date >= toStartOfMonth(today) AND date <= today) AS cost_so_far,
        sumIf(total_cost, date = today) AS cost_today,
        sumIf(total_cost, date < today AND date >= today - days) AS recent_cost,
        sumIf(total_cost, date < toStartOfMonth(today) AND date >= toStartOfMonth(today) - INTERVAL 1 MONTH) AS last_month
    FROM ccusage_usage_daily FINAL
    WHERE date >= least(today - days, toStartOfMonth(today) - INTERVAL 1 MONTH)
),
history AS
(
    SELECT if(count() = 0, 0, least(days, greatest(dateDiff('day', min(date), today), 0))) AS recent_days
    FROM ccusage_usage_daily FINAL
    WHERE date <= today
)
SELECT
    formatDateTime(today, '%Y-%m') AS month,
    cost_so_far,
    dateDiff('day', today, toLastDayOfMonth(today)) AS days_left,
    if(recent_days = 0, cost_today, recent_cost / recent_days) AS cost_per_day,
    cost_so_far - cost_today + greatest(cost_today, cost_per_day) + cost_per_day * days_left AS forecast,
    last_month AS last_month_cost
FROM sums
CROSS JOIN history;

-- name: linear_trend
-- Is the daily cost rising or falling, and what will the next days cost if it goes on so?
WITH 30 AS days, toDate(now('UTC')) AS today,
per_day AS
(
    SELECT date, sum(day_cost) AS cost
    FROM
    (
        SELECT date, total_cost AS day_cost
        FROM ccusage_usage_daily FINAL
        WHERE date < today AND date >= today - days
        UNION ALL
        SELECT today - 1 - arrayJoin(range(days)), 0
    )
    GROUP BY date
),
fitted AS
(
    SELECT simpleLinearRegression(dateDiff('day', today, date), cost) AS line
    FROM per_day
)
SELECT
    greatest(line.2, 0) AS cost_per_day_now,
    line.1 AS change_per_day,
    arraySum(arrayMap(day -> greatest(line.2 + line.1 * day, 0), range(7))) AS next_7_days,
    arraySum(arrayMap(day -> greatest(line.2 + line.1 * day, 0), range(30))) AS next_30_days
FROM fitted;

-- name: days_to_budget
-- On which day will this month's cost reach the budget, at the pace of the last whole days?
WITH 100 AS budget, 14 AS days, toDate(now('UTC')) AS today,
sums AS
(
    SELECT
        sumIf(total_cost, date >= toStartOfMonth(today) AND date <= today) AS cost_so_far,
        sumIf(total_cost, date = today) AS cost_today,
        sumIf(total_cost, date < today AND date >= today - days) AS recent_cost
    FROM ccusage_usage_daily FINAL
    WHERE date >= least(today - days, toStartOfMonth(today))
),
history AS
(
    SELECT if(count() = 0, 0, least(days, greatest(dateDiff('day', min(date), today), 0))) AS recent_days
    FROM ccusage_usage_daily FINAL
    WHERE date <= today
)
SELECT
    budget AS monthly_budget,
    cost_so_far,
    greatest(budget - cost_so_far, 0) AS dollars_left,
    if(recent_days = 0, cost_today, recent_cost / recent_days) AS cost_per_day,
    multiIf(
        cost_so_far >= budget, 0,
        cost_per_day = 0, NULL,
        toUInt32(least(ceil((budget - cost_so_far) / cost_per_day), 1000000))
    ) AS days_to_reach,
    if(days_to_reach <= dateDiff('day', today, toLastDayOfMonth(today)), today + assumeNotNull(days_to_reach), NULL) AS reached_on
FROM sums
CROSS JOIN history;

-- name: year_end
-- What will this year have cost at its end, at the pace of the last whole days?
WITH 30 AS days, toDate(now('UTC')) AS today,
sums AS
(
    SELECT
        sumIf(total_cost, date >= toStartOfYear(today) AND date <= today) AS cost_so_far,
        sumIf(total_cost, date = today) AS cost_today,
        sumIf(total_cost, date < today AND date >= today - days) AS recent_cost
    FROM ccusage_usage_daily FINAL
    WHERE date >= least(today - days, toStartOfYear(today))
),
history AS
(
    SELECT if(count() = 0, 0, least(days, greatest(dateDiff('day', min(date), today), 0))) AS recent_days
    FROM ccusage_usage_daily FINAL
    WHERE date <= today
)
SELECT
    toYear(today) AS year,
    cost_so_far,
    dateDiff('day', today, makeDate(toYear(today), 12, 31)) AS days_left,
    if(recent_days = 0, cost_today, recent_cost / recent_days) AS cost_per_day,
    cost_so_far - cost_today + greatest(cost_today, cost_per_day) + cost_per_day * days_left AS forecast
FROM sums
CROSS JOIN history;

-- section: Anomalies

-- name: unusual_days
-- Which days cost far more or less than the average day with usage?
WITH 90 AS days, 2 AS deviations, toDate(now('UTC')) AS today,
per_day AS
(
    SELECT date, sum(total_cost) AS cost, sum(total_tokens) AS tokens
    FROM ccusage_usage_daily FINAL
    WHERE date > today - days
    GROUP BY date
),
measured AS
(
    SELECT
        date,
        cost,
        tokens,
        avg(cost) OVER () AS average_cost,
        stddevPop(cost) OVER () AS deviation
    FROM per_day
)
SELECT
    date,
    cost,
    tokens,
    average_cost,
    if(deviation = 0, 0, (cost - average_cost) / deviation) AS deviations_away
FROM measured
WHERE deviation > 0 AND abs(cost - average_cost) >= deviations * deviation
ORDER BY abs(deviations_away) DESC, date DESC;

-- name: unusual_sessions
-- Which sessions cost far more than the others?
WITH 90 AS days, 3 AS deviations, toDate(now('UTC')) AS today,
measured AS
(
    SELECT
        session_id,
        project_path,
        source,
        machine_name,
        user_name,
        last_activity,
        total_cost,
        avg(total_cost) OVER () AS average_cost,
        stddevPop(total_cost) OVER () AS deviation
    FROM ccusage_usage_sessions FINAL
    WHERE last_activity >= toDateTime(today - days + 1, 'UTC')
)
SELECT
    session_id,
    project_path AS project,
    source AS agent,
    machine_name,
    user_name,
    last_activity,
    total_cost AS cost,
    if(deviation = 0, 0, (total_cost - average_cost) / deviation) AS deviations_away
FROM measured
WHERE deviation > 0 AND total_cost - average_cost >= deviations * deviation
ORDER BY cost DESC, session_id, source, machine_name, user_name;

-- name: unpriced_models
-- Which models have tokens and no cost, so that the totals are too low?
WITH per_model AS
(
    SELECT
        source,
        model_name,
        sum(cost) AS model_cost,
        sum(total_tokens) AS tokens,
        min(record_key) AS first_key,
        max(record_key) AS last_key
    FROM ccusage_model_breakdowns FINAL
    WHERE record_type = 'daily'
    GROUP BY source, model_name
)
SELECT
    source AS agent,
    model_name AS model,
    tokens,
    toDateOrZero(first_key) AS first_day,
    toDateOrZero(last_key) AS last_day
FROM per_model
WHERE tokens > 0 AND model_cost = 0
ORDER BY tokens DESC, agent, model;

-- section: Machines

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

-- name: machine_share
-- What part of the last days' cost does each machine make, and on how many days is it used?
WITH 30 AS days, toDate(now('UTC')) AS today,
per_machine AS
(
    SELECT
        machine_name,
        sum(total_cost) AS cost,
        sum(total_tokens) AS tokens,
        uniqExact(date) AS days_used,
        uniqExact(user_name) AS users
    FROM ccusage_usage_daily FINAL
    WHERE date > today - days
    GROUP BY machine_name
),
shared AS
(
    SELECT machine_name, cost, tokens, days_used, users, sum(cost) OVER () AS all_cost
    FROM per_machine
)
SELECT
    machine_name,
    cost,
    if(all_cost = 0, 0, 100 * cost / all_cost) AS percent,
    tokens,
    days_used,
    users
FROM shared
ORDER BY cost DESC, machine_name;

-- name: machine_months
-- What did each machine cost from month to month?
SELECT
    month,
    machine_name,
    sum(total_cost) AS cost,
    sum(total_tokens) AS tokens
FROM ccusage_usage_monthly FINAL
GROUP BY month, machine_name
ORDER BY month DESC, cost DESC, machine_name;

-- section: Agents

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

-- name: agent_months
-- How is each month's cost divided between the agents?
WITH per_agent AS
(
    SELECT month, source, sum(total_cost) AS cost, sum(total_tokens) AS tokens
    FROM ccusage_usage_monthly FINAL
    GROUP BY month, source
),
shared AS
(
    SELECT month, source, cost, tokens, sum(cost) OVER (PARTITION BY month) AS month_cost
    FROM per_agent
)
SELECT
    month,
    source AS agent,
    cost,
    if(month_cost = 0, 0, 100 * cost / month_cost) AS percent_of_month,
    tokens
FROM shared
ORDER BY month DESC, cost DESC, agent;

-- name: agent_efficiency
-- What do the agents cost per million tokens and per day, and how well do they use the prompt cache?
WITH per_agent AS
(
    SELECT
        source,
        sum(total_cost) AS cost,
        sum(total_tokens) AS tokens,
        sum(cache_read_tokens) AS cache_read,
        sum(input_tokens + cache_creation_tokens + cache_read_tokens) AS sent,
        uniqExact(date) AS days_used
    FROM ccusage_usage_daily FINAL
    GROUP BY source
)
SELECT
    source AS agent,
    if(tokens = 0, 0, 1000000 * cost / tokens) AS cost_per_million_tokens,
    if(days_used = 0, 0, cost / days_used) AS cost_per_day_used,
    if(sent = 0, 0, 100 * cache_read / sent) AS cache_hit_percent
FROM per_agent
ORDER BY cost_per_million_tokens DESC, agent;

-- section: Users

-- name: user_weeks
-- Who used the most in each of the last weeks?
WITH 8 AS weeks, toDate(now('UTC')) AS today,
per_user AS
(
    SELECT
        toMonday(date) AS week,
        user_name,
        sum(total_cost) AS cost,
        sum(total_tokens) AS tokens,
        uniqExact(date) AS days_used
    FROM ccusage_usage_daily FINAL
    WHERE date > toMonday(today) - 7 * weeks
    GROUP BY week, user_name
)
SELECT
    week,
    rank() OVER (PARTITION BY week ORDER BY cost DESC) AS place,
    user_name,
    cost,
    tokens,
    days_used
FROM per_user
ORDER BY week DESC, place, user_name;

-- name: user_months
-- Who used the most in each month?
WITH per_user AS
(
    SELECT month, user_name, sum(total_cost) AS cost, sum(total_tokens) AS tokens
    FROM ccusage_usage_monthly FINAL
    GROUP BY month, user_name
)
SELECT
    month,
    rank() OVER (PARTITION BY month ORDER BY cost DESC) AS place,
    user_name,
    cost,
    tokens
FROM per_user
ORDER BY month DESC, place, user_name;

-- name: user_active_days
-- On how many days was each user active, lately and in all, on how many machines, and what does a day cost?
WITH 30 AS days, toDate(now('UTC')) AS today
SELECT
    user_name,
    uniqExactIf(date, date > today - days) AS days_used_lately,
    uniqExact(date) AS days_used,
    min(date) AS first_day,
    max(date) AS last_day,
    uniqExact(machine_name) AS machines,
    sum(total_cost) AS cost,
    if(days_used = 0, 0, cost / days_used) AS cost_per_day_used
FROM ccusage_usage_daily FINAL
GROUP BY user_name
ORDER BY days_used_lately DESC, days_used DESC, user_name;

-- name: user_favourite_model
-- Which model does each user use most, by tokens?
WITH 90 AS days, toDate(now('UTC')) AS today,
per_model AS
(
    SELECT user_name, model_name, sum(total_tokens) AS model_tokens, sum(cost) AS model_cost
    FROM ccusage_model_breakdowns FINAL
    WHERE record_type = 'daily' AND record_key > toString(today - days)
    GROUP BY user_name, model_name
),
ranked AS
(
    SELECT
        user_name,
        model_name,
        model_tokens,
        model_cost,
        sum(model_tokens) OVER (PARTITION BY user_name) AS user_tokens,
        row_number() OVER (PARTITION BY user_name ORDER BY model_tokens DESC, model_name) AS place
    FROM per_model
)
SELECT
    user_name,
    model_name AS model,
    model_tokens AS tokens,
    if(user_tokens = 0, 0, 100 * model_tokens / user_tokens) AS percent_of_tokens,
    model_cost AS cost
FROM ranked
WHERE place = 1
ORDER BY user_name;

-- section: Health

-- name: rows_by_machine
-- How many rows of each report does each machine and user have?
SELECT
    machine_name,
    user_name,
    sumIf(rows, report = 'daily') AS days,
    sumIf(rows, report = 'monthly') AS months,
    sumIf(rows, report = 'session') AS sessions,
    sumIf(rows, report = 'blocks') AS blocks_without_gaps,
    sumIf(rows, report = 'projects') AS project_days
FROM
(
    SELECT 'daily' AS report, machine_name, user_name, count() AS rows
    FROM ccusage_usage_daily FINAL
    GROUP BY machine_name, user_name
    UNION ALL
    SELECT 'monthly', machine_name, user_name, count()
    FROM ccusage_usage_monthly FINAL
    GROUP BY machine_name, user_name
    UNION ALL
    SELECT 'session', machine_name, user_name, count()
    FROM ccusage_usage_sessions FINAL
    GROUP BY machine_name, user_name
    UNION ALL
    SELECT 'blocks', machine_name, user_name, count()
    FROM ccusage_usage_blocks FINAL
    WHERE is_gap = 0
    GROUP BY machine_name, user_name
    UNION ALL
    SELECT 'projects', machine_name, user_name, count()
    FROM ccusage_usage_projects_daily FINAL
    GROUP BY machine_name, user_name
)
GROUP BY machine_name, user_name
ORDER BY machine_name, user_name;

-- name: freshness
-- When did each machine and user import last, and has it been too long?
WITH 24 AS stale_after_hours
SELECT
    machine_name,
    user_name,
    maxIf(import_timestamp, status != 'failed') AS last_import,
    age('hour', last_import, now('UTC')) AS hours_ago,
    hours_ago >= stale_after_hours AS is_stale,
    toString(argMax(status, (import_timestamp, created_at, import_id))) AS last_status,
    argMax(ccusage_version, (import_timestamp, created_at, import_id)) AS ccusage,
    argMax(timezone, (import_timestamp, created_at, import_id)) AS zone
FROM ccusage_import_history FINAL
GROUP BY machine_name, user_name
ORDER BY last_import, machine_name, user_name;

-- name: months_against_days
-- Does each stored month equal the days stored of it?
WITH both AS
(
    SELECT month, source, machine_name, user_name, total_cost, total_tokens, 0. AS cost_of_days, 0 AS tokens_of_days
    FROM ccusage_usage_monthly FINAL
    UNION ALL
    SELECT formatDateTime(date, '%Y-%m'), source, machine_name, user_name, 0., 0, total_cost, total_tokens
    FROM ccusage_usage_daily FINAL
)
SELECT
    month,
    source,
    machine_name,
    user_name,
    sum(total_cost) AS month_cost,
    sum(cost_of_days) AS days_cost,
    toInt64(sum(total_tokens)) - toInt64(sum(tokens_of_days)) AS tokens_difference,
    round(month_cost - days_cost, 6) AS cost_difference,
    tokens_difference = 0 AND abs(cost_difference) < 0.00001 AS is_equal
FROM both
GROUP BY month, source, machine_name, user_name
ORDER BY is_equal, month DESC, source, machine_name, user_name;

-- name: days_against_projects
-- On which days do the projects, where the agent tells them, not add up to the day?
WITH both AS
(
    SELECT date, source, machine_name, user_name, total_cost, total_tokens, 0. AS cost_of_projects, 0 AS tokens_of_projects, 0 AS is_project
    FROM ccusage_usage_daily FINAL
    UNION ALL
    SELECT date, source, machine_name, user_name, 0., 0, total_cost, total_tokens, 1
    FROM ccusage_usage_projects_daily FINAL
)
SELECT
    date,
    source AS agent,
    machine_name,
    user_name,
    toInt64(sum(total_tokens)) - toInt64(sum(tokens_of_projects)) AS tokens_difference,
    round(sum(total_cost) - sum(cost_of_projects), 6) AS cost_difference
FROM both
GROUP BY date, source, machine_name, user_name
HAVING sum(is_project) > 0 AND (tokens_difference != 0 OR abs(cost_difference) >= 0.00001)
ORDER BY date DESC, agent, machine_name, user_name;

-- name: days_missing
-- Between which days does a machine and user have nothing, be it days off or days never imported?
WITH 1 AS at_least,
used_days AS
(
    SELECT DISTINCT machine_name, user_name, date
    FROM ccusage_usage_daily FINAL
),
followed AS
(
    SELECT
        machine_name,
        user_name,
        date,
        leadInFrame(toNullable(date)) OVER (
            PARTITION BY machine_name, user_name
            ORDER BY date
            ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING
        ) AS next_date
    FROM used_days
)
SELECT
    machine_name,
    user_name,
    date + 1 AS first_missing,
    assumeNotNull(next_date) - 1 AS last_missing,
    dateDiff('day', first_missing, last_missing) + 1 AS days_without_usage
FROM followed
WHERE next_date IS NOT NULL AND dateDiff('day', date, assumeNotNull(next_date)) > at_least
ORDER BY first_missing DESC, machine_name, user_name;

-- name: imports_failed
-- Which of the last days' imports failed or were partial, and why?
WITH 30 AS days, toDate(now('UTC')) AS today
SELECT
    import_timestamp,
    machine_name,
    user_name,
    toString(status) AS import_status,
    error,
    ccusage_version
FROM ccusage_import_history FINAL
WHERE import_timestamp >= toDateTime(today - days + 1, 'UTC') AND status != 'completed'
ORDER BY import_timestamp DESC, machine_name, user_name, import_id;

-- name: rows_kept
-- How many rows hold more than ccusage still tells, because the logs behind them are gone?
WITH last_imports AS
(
    SELECT
        machine_name,
        user_name,
        max(import_timestamp) AS last_import,
        argMax(rows_kept, (import_timestamp, created_at, import_id)) AS kept
    FROM ccusage_import_history FINAL
    WHERE status != 'failed'
    GROUP BY machine_name, user_name
),
by_report AS
(
    SELECT machine_name, user_name, last_import, arrayJoin(kept) AS pair
    FROM last_imports
)
SELECT
    machine_name,
    user_name,
    toString(pair.1) AS report,
    pair.2 AS rows_kept,
    last_import
FROM by_report
WHERE pair.2 > 0
ORDER BY machine_name, user_name, report;

-- name: import_durations
-- How long do imports take on each machine?
WITH 30 AS days, toDate(now('UTC')) AS today
SELECT
    machine_name,
    user_name,
    count() AS imports,
    avg(duration_seconds) AS average_seconds,
    quantileExact(0.5)(duration_seconds) AS median_seconds,
    quantileExact(0.95)(duration_seconds) AS slow_seconds,
    max(duration_seconds) AS longest_seconds
FROM ccusage_import_history FINAL
WHERE import_timestamp >= toDateTime(today - days + 1, 'UTC')
GROUP BY machine_name, user_name
ORDER BY average_seconds DESC, machine_name, user_name;

-- name: last_imports
-- What did the last imports change?
WITH 20 AS top
SELECT
    import_timestamp,
    machine_name,
    user_name,
    toString(status) AS import_status,
    arraySum(mapValues(rows_new)) AS new_rows,
    arraySum(mapValues(rows_changed)) AS changed_rows,
    arraySum(mapValues(rows_unchanged)) AS unchanged_rows,
    arraySum(mapValues(rows_kept)) AS kept_rows,
    duration_seconds AS seconds,
    ccusage_version
FROM ccusage_import_history FINAL
ORDER BY import_timestamp DESC, created_at DESC, machine_name, user_name, import_id
LIMIT top;
