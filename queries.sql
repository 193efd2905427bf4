-- Named queries of ccusage-importer. Each is one statement that any ClickHouse client (25.8 or newer) can
-- run in the importer's database; the program's own statistics are made of them.
--
-- What may be tuned stands first, as literals with a name: WITH 30 AS days. Costs are US dollars. Days are cut by
-- each machine's own time zone. Where hours or the day of today matter, a query begins with the zone, or with
-- `'UTC' AS zone, toDate(now(zone)) AS today`: the program puts its machine's zone there, and --until another day.
-- Tables are read with FINAL, child tables for one record_type at a time, and blocks without gaps, so that nothing
-- counts twice.
-- Of people whose prompts of the time are not stored no query says how they work: hence conditions on machine_name and
-- user_name, by whole quarters, because these are partitions.
--
-- Above each statement stand, in this order, its name, the question that it answers, and:
--
--   shown: KIND "TITLE" [of its own period] [in PLACE, PLACE] | COLUMN UNIT, COLUMN UNIT, ...
--       How people see the answer. All columns of the answer are named, in their order.
--       KIND    figures (one row, a line for each column), table, bars (the first measure of each row; a sparkline
--               on one line), ranking (bars by rank), shares (a ranking; on one line: names and percents), comparison
--               (now and before), heatmap (of days, where a column in # marks those without a cost; or of the first
--               two columns: rows and columns),
--               cube and blocks (arrays beside each other, of which the page makes views that can be narrowed)
--       TITLE   {zone} is the zone, {days} (or another tunable) its value
--       of its own period   --days and --since cannot narrow it: it is about today, this month, all weeks, ...;
--               where days are narrowed it is left out. Other queries' `days` become the days asked for
--       PLACE   glance N (the one screen, N: where, from the top; lines of the same ten stand together; a query
--               without rows prints nothing), stats (--stats --all), page (the page); nowhere: --query alone
--       COLUMN  with a `?` at its end: the first to be left out where there is no room
--       UNIT    of the values: $ US dollars, +$ a change of them, % percent, +% a change in percent, ~ a number, rounded
--               (1.2M), # a whole number, + a change of it, . a number with two digits after the point, s ms min h a
--               time that passed, B bytes, day, time (shown in the zone), age (a time: how long ago), hour, weekday
--               (1 is Monday), model, models (an array of them, each with cost and tokens), project, id, yes (0 or 1),
--               words (a sentence, never shortened), - for machines alone; none: a text
--   glance: LABEL | TEXT | TEXT ...
--       What figures, a table or a comparison say on the one screen, a line for each row: {column} is a value with
--       its unit. A TEXT with a value that is NULL or empty is left out, and so is what stands in [brackets]. Lines of
--       different queries with one LABEL become one line.
--   tunables: NAME LOW..HIGH, NAME WORD|WORD, NAME a time zone
--       What each literal accepts (days go back to 1972 at most); zone and today need no word.
--
-- A line that begins with more than two blanks goes on with the one above.

-- section: Looked at from all sides

-- name: cube
-- What was used on each day, by project, model, agent, machine and user?
-- shown: cube "Days" in page | project project, model model, agent, machine_name, user_name, days -, costs -, tokens -
-- tunables: whole_days 1..20000, cells 1..100000000
WITH 400 AS whole_days, 6000 AS cells, 'UTC' AS zone, toDate(now(zone)) AS today,
-- Days as numbers since 1970; days long ago are put on the first of their month. Where there would be too many cells,
-- the projects, models, machines and users that cost least stand together under '*'.
-- What each of these costs in all, as ccusage_v_usage would tell, but from sums, a fraction of reading that once more,
-- and how many rows tell something.
costs AS
(
    SELECT
        arrayJoin(
            [
                ('agent', agent, day_cost, 0), ('machine', machine_name, day_cost, 0), ('user', user_name, day_cost, 0),
                ('project', '', day_cost, 0), ('model', '', day_cost, 0)
            ]
        ) AS part
    FROM
    (
        SELECT
            toString(source) AS agent,
            toString(machine_name) AS machine_name,
            toString(user_name) AS user_name,
            sum(total_cost) AS day_cost
        FROM ccusage_usage_daily FINAL
        GROUP BY agent, machine_name, user_name
    )
    UNION ALL
    SELECT arrayJoin([(what, name, model_cost, 0), (what, '', -model_cost, 0), ('rows', '', 0, telling)])
    FROM
    (
        SELECT
            if(record_type = 'daily', 'model', 'project') AS what,
            if(what = 'model', toString(model_name), substring(record_key, 12)) AS name,
            sum(cost) AS model_cost,
            countIf(cost != 0 OR total_tokens != 0) AS telling
        FROM ccusage_model_breakdowns FINAL
        WHERE record_type IN ('daily', 'project_daily')
        GROUP BY what, name
    )
),
-- From here on a name is its place among these, the dearest first: numbers are grouped in a third of the time. With more
-- rows than this, each in a cell with at most 30 others, there are too many cells for certain: then `most` is 24.
(
    SELECT
        (
            arrayPushBack(names['agent'], '*'),
            arrayPushBack(arraySlice(names['project'], 1, most), '*'),
            arrayPushBack(arraySlice(names['model'], 1, most), '*'),
            arrayPushBack(arraySlice(names['machine'], 1, most), '*'),
            arrayPushBack(arraySlice(names['user'], 1, most), '*'),
            if(sum(telling) > 2 * 31 * cells, 24, 1000000) AS most,
            mapFromArrays(groupArray(what), groupArray(its_names)) AS names
        )
    FROM
    (
        SELECT what, groupArray(name) AS its_names, sum(its_telling) AS telling
        FROM
        (
            SELECT part.1 AS what, part.2 AS name, sum(part.4) AS its_telling
            FROM costs
            GROUP BY what, name
            ORDER BY round(sum(part.3), 6) DESC, name
        )
        GROUP BY what
    )
) AS known,
counted AS
(
    SELECT
        toUInt32(transform(project_id, known.2, arrayEnumerate(known.2), 0xFFFFFFFF)) AS project,
        toUInt32(transform(parts.model, known.3, arrayEnumerate(known.3), 0xFFFFFFFF)) AS model,
        toUInt32(transform(source, known.1, arrayEnumerate(known.1), 0xFFFFFFFF)) AS agent,
        toUInt32(transform(machine_name, known.4, arrayEnumerate(known.4), 0xFFFFFFFF)) AS machine,
        toUInt32(transform(user_name, known.5, arrayEnumerate(known.5), 0xFFFFFFFF)) AS user,
        toUInt32(if(date > today - whole_days, date, toStartOfMonth(date))) AS number,
        round(sum(parts.cost), 9) AS cost,
        sum(parts.tokens) AS tokens
    FROM ccusage_v_usage_parts AS parts
    GROUP BY project, model, agent, machine, user, number
    HAVING cost != 0 OR tokens != 0
),
-- How many of the dearest of each keep their names: as many as there is room for.
ranked AS
(
    SELECT
        *,
        arrayFirst(
            top -> top.2 <= cells OR top.1 = 1,
            [
                (known.6, count() OVER ()),
                (24, uniqExact(number, agent, least(project, 25), least(model, 25), least(machine, 25), least(user, 25)) OVER ()),
                (12, uniqExact(number, agent, least(project, 13), least(model, 13), least(machine, 13), least(user, 13)) OVER ()),
                (6, uniqExact(number, agent, least(project, 7), least(model, 7), least(machine, 7), least(user, 7)) OVER ()),
                (3, uniqExact(number, agent, least(project, 4), least(model, 4), least(machine, 4), least(user, 4)) OVER ()),
                (1, 0)
            ]
        ).1 AS top
    FROM counted
),
folded AS
(
    SELECT
        if(project > top, '*', known.2[project]) AS project_name,
        if(model > top, '*', known.3[model]) AS model_name,
        known.1[agent] AS agent_name,
        if(machine > top, '*', known.4[machine]) AS machine_name,
        if(user > top, '*', known.5[user]) AS user_name,
        number,
        round(sum(ranked.cost), 6) AS cost,
        sum(ranked.tokens) AS all_tokens
    FROM ranked
    GROUP BY project_name, model_name, agent_name, machine_name, user_name, number
    ORDER BY number
)
SELECT
    project_name AS project,
    model_name AS model,
    agent_name AS agent,
    machine_name,
    user_name,
    groupArray(number) AS days,
    groupArray(cost) AS costs,
    groupArray(all_tokens) AS tokens
FROM folded
GROUP BY project, model, agent, machine_name, user_name
ORDER BY project, model, agent, machine_name, user_name;

-- name: block_cube
-- When did each of the latest billing blocks begin, what did it cost, and how many messages did it have?
-- shown: blocks "Blocks" in page | agent, machine_name, user_name, starts -, costs -, tokens -, messages -
-- tunables: top 1..1000000
WITH 1500 AS top,
latest AS
(
    SELECT
        source,
        machine_name,
        user_name,
        intDiv(toUnixTimestamp(start_time), 60) AS start,
        round(cost_usd, 6) AS cost,
        total_tokens,
        entries
    FROM ccusage_usage_blocks FINAL
    WHERE is_gap = 0
    ORDER BY start_time DESC, source, machine_name, user_name, block_id
    LIMIT top
)
SELECT
    toString(source) AS agent,
    machine_name,
    user_name,
    groupArray(start) AS starts,
    groupArray(cost) AS costs,
    groupArray(total_tokens) AS tokens,
    groupArray(entries) AS messages
FROM latest
GROUP BY agent, machine_name, user_name
ORDER BY agent, machine_name, user_name;

-- section: Overview

-- name: known
-- Whose usage is known, since when, and how much is it?
-- shown: figures "Known" in glance 10 | whose, first_day? day, days_between #, cost $, tokens ~
-- glance: ccusage | {whose} | {days_between} days since {first_day} | {cost} | {tokens} tokens
WITH per_machine AS
(
    SELECT
        machine_name,
        user_name,
        sum(total_cost) AS machine_cost,
        sum(total_tokens) AS machine_tokens,
        min(date) AS first_date,
        max(date) AS last_date
    FROM ccusage_usage_daily FINAL
    GROUP BY machine_name, user_name
)
SELECT
    multiIf(
        uniqExact(user_name) > 1, concat(toString(uniqExact(user_name)), ' users'),
        count() > 1, concat(any(user_name), ' on ', toString(count()), ' machines'),
        count() = 0, '',
        concat(any(user_name), ' on ', any(machine_name))
    ) AS whose,
    minOrNull(first_date) AS first_day,
    ifNull(dateDiff('day', minOrNull(first_date), maxOrNull(last_date)) + 1, 0) AS days_between,
    sum(machine_cost) AS cost,
    sum(machine_tokens) AS tokens
FROM per_machine;

-- name: totals
-- What has been used in all, over which days, and how old is it?
-- shown: figures "All usage" in stats, page | cost $, tokens ~, input ~, output ~, cache_creation ~,
--     cache_read ~, first_day day, last_day day, days_with_usage #, days_between #, last_import age, whose
SELECT
    sum(total_cost) AS cost,
    sum(total_tokens) AS tokens,
    sum(input_tokens) AS input,
    sum(output_tokens) AS output,
    sum(cache_creation_tokens) AS cache_creation,
    sum(cache_read_tokens) AS cache_read,
    toString(minOrNull(date)) AS first_day,
    toString(maxOrNull(date)) AS last_day,
    uniqExact(date) AS days_with_usage,
    ifNull(dateDiff('day', minOrNull(date), maxOrNull(date)) + 1, 0) AS days_between,
    (SELECT maxOrNull(import_timestamp) FROM ccusage_import_history FINAL WHERE status != 'failed') AS last_import,
    multiIf(
        uniqExact(user_name) > 1, concat(toString(uniqExact(user_name)), ' users'),
        uniqExact(machine_name) > 1, concat(any(user_name), ' on ', toString(uniqExact(machine_name)), ' machines'),
        days_with_usage = 0, '',
        concat(any(user_name), ' on ', any(machine_name))
    ) AS whose
FROM ccusage_usage_daily FINAL;

-- name: table_rows
-- How many rows does each table hold?
-- shown: table "Rows by table" of its own period in stats | table, rows #
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
-- shown: table "Periods" of its own period | period, first_day day, last_day day, cost $, tokens ~,
--     days_with_usage #
WITH 'UTC' AS zone, toDate(now(zone)) AS today,
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
-- How do today, this week, month and year compare with the last one, up to the same day and in all?
-- shown: comparison "Periods" of its own period in stats, page | period, cost $,
--     cost_before_to_same_day $, cost_before $, change +$, change_percent +%
WITH 'UTC' AS zone, toDate(now(zone)) AS today,
periods AS
(
    SELECT
        period.1 AS position,
        period.2 AS name,
        period.3 AS starts,
        period.4 AS starts_before,
        -- of a year by its name: one of the two may have a day more before it
        if(name = 'year', today - INTERVAL 1 YEAR, least(starts_before + (today - starts), starts - 1)) AS same_day_before
    FROM
    (
        SELECT arrayJoin(
            [
                (1, 'day', today, today - 1),
                (2, 'week', toMonday(today), toMonday(today) - 7),
                (3, 'month', toStartOfMonth(today), toStartOfMonth(today) - INTERVAL 1 MONTH),
                (4, 'year', toStartOfYear(today), toStartOfYear(today) - INTERVAL 1 YEAR)
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
),
(SELECT if(count() = 0, toDate('2149-06-06'), min(date)) FROM ccusage_usage_daily FINAL) AS first_day
SELECT
    name AS period,
    sumIf(day_cost, date >= starts) AS cost,
    -- a day that is not over is not held against a whole one; what was not recorded yet is not nothing used
    if(name = 'day' OR first_day > same_day_before, NULL, sumIf(day_cost, date BETWEEN starts_before AND same_day_before))
        AS cost_before_to_same_day,
    if(first_day >= starts, NULL, sumIf(day_cost, date >= starts_before AND date < starts)) AS cost_before,
    -- of the part of both that was recorded
    sumIf(day_cost, date >= starts + greatest(dateDiff('day', starts_before, first_day), 0)) - cost_before_to_same_day AS change,
    if(cost_before_to_same_day = 0, NULL, 100 * change / cost_before_to_same_day) AS change_percent
FROM periods
CROSS JOIN per_day
GROUP BY position, name, starts, starts_before, same_day_before
ORDER BY position;

-- name: recent
-- What was used today, yesterday, this week and this month, and what in the last one to the same day?
-- shown: comparison "Lately" of its own period in glance 32 | period, cost $, tokens ~, cost_before $, change +$,
--     change_percent +%, recorded_from day, compared_with words, forecast? $
-- glance: {period} | {cost} | {change_percent} on {compared_with} | forecast {forecast}
WITH 'UTC' AS zone, toDate(now(zone)) AS today,
periods AS
(
    SELECT
        period.1 AS position,
        period.2 AS name,
        period.3 AS starts,
        period.4 AS ends,
        period.5 AS starts_before,
        least(starts_before + (ends - starts), starts - 1) AS same_day_before,
        if(name = 'week', formatDateTime(same_day_before, '%W'), concat('day ', toString(toDayOfMonth(same_day_before)))) AS last_part
    FROM
    (
        SELECT arrayJoin(
            [
                (1, 'month', toStartOfMonth(today), today, toStartOfMonth(today) - INTERVAL 1 MONTH),
                (2, 'week', toMonday(today), today, toMonday(today) - 7),
                (3, 'yesterday', today - 1, today - 1, today - 2),
                (4, 'today', today, today, today - 1)
            ]
        ) AS period
    )
),
-- with the first of all days, for which the rows would have to be read once more
per_day AS
(
    SELECT date, sum(total_cost) AS day_cost, sum(total_tokens) AS day_tokens, min(date) OVER () AS first_day
    FROM ccusage_usage_daily FINAL
    GROUP BY date
    UNION ALL
    SELECT today, 0, 0, toDate('2149-06-06')
),
reckoned AS
(
    SELECT
        position,
        name AS period,
        sumIf(day_cost, date BETWEEN starts AND ends) AS cost,
        sumIf(day_tokens, date BETWEEN starts AND ends) AS tokens,
        -- what is not over is not held against a whole day; what was not recorded yet is not nothing used
        if(
            name = 'today' OR (min(first_day) AS recorded) > same_day_before,
            NULL,
            sumIf(day_cost, date BETWEEN starts_before AND same_day_before)
        ) AS cost_before,
        -- of the part of both that was recorded
        sumIf(day_cost, date BETWEEN starts + greatest(dateDiff('day', starts_before, first_day), 0) AND ends) - cost_before AS change,
        if(cost_before = 0, NULL, 100 * change / cost_before) AS change_percent,
        if(recorded > starts_before AND recorded <= same_day_before, recorded, NULL) AS recorded_from,
        if(
            name NOT IN ('week', 'month'),
            '',
            concat(
                if(name = 'week', 'last week', formatDateTime(starts_before, '%M')),
                multiIf(
                    recorded_from IS NULL, ' by ',
                    name = 'week', formatDateTime(recorded, ' from %W to '),
                    concat(' from day ', toString(toDayOfMonth(recorded)), ' to ')
                ),
                last_part
            )
        ) AS compared_with,
        sumIf(day_cost, date = today) AS cost_today,
        least(14, dateDiff('day', recorded, today)) AS whole_days,
        if(whole_days <= 0, cost_today, sumIf(day_cost, date < today AND date >= today - 14) / whole_days) AS cost_per_day
    FROM periods
    CROSS JOIN per_day
    GROUP BY position, name, starts, ends, starts_before, same_day_before, last_part
)
SELECT
    period,
    cost,
    tokens,
    cost_before,
    change,
    change_percent,
    recorded_from,
    compared_with,
    -- as month_end reckons it, for which the rows would have to be read once more
    if(
        period = 'month',
        cost - cost_today + greatest(cost_today, cost_per_day) + cost_per_day * dateDiff('day', today, toLastDayOfMonth(today)),
        NULL
    ) AS forecast
FROM reckoned
ORDER BY position;

-- name: typical_day
-- What does a day with usage cost: on average, in the middle, at its most?
-- shown: figures "A typical day" in stats, page | days_with_usage #, average_cost $, median_cost $,
--     ninetieth_percentile_cost $, highest_cost $, average_tokens ~
-- tunables: days 1..20000
WITH 90 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
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
    if(days_with_usage = 0, 0, quantileExactInclusive(0.5)(cost)) AS median_cost,
    if(days_with_usage = 0, 0, quantileExact(0.9)(cost)) AS ninetieth_percentile_cost,
    max(cost) AS highest_cost,
    if(days_with_usage = 0, 0, sum(tokens) / days_with_usage) AS average_tokens
FROM per_day;

-- name: token_kinds
-- What are the tokens made of: input, output, cache written, cache read, others?
-- shown: ranking "Kinds of tokens" in stats, page | kind_of_tokens, tokens ~, percent %
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

-- name: usage_by_day
-- What was used on each day, by agent, machine and user?
-- shown: table "Usage by day" in csv | date day, agent, machine_name?, user_name?, input_tokens? ~, output_tokens? ~,
--     cache_creation_tokens? ~, cache_read_tokens? ~, total_tokens ~, cost $
SELECT
    date,
    source AS agent,
    machine_name,
    user_name,
    input_tokens,
    output_tokens,
    cache_creation_tokens,
    cache_read_tokens,
    total_tokens,
    total_cost AS cost
FROM ccusage_usage_daily FINAL
ORDER BY date, agent, machine_name, user_name;

-- name: daily_trend
-- What did each of the last days cost, days off included, and what is the average of a week?
-- shown: bars "Cost by day" in glance 20, stats | date day, cost $, tokens ~, average_of_7_days $
-- glance: {days} days
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
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
WHERE date > today - days AND date <= today -- it is tomorrow already where somebody else works
ORDER BY date;

-- name: day_to_day
-- How much more or less did each day cost than the day before?
-- shown: comparison "Day against day" | date day, cost $, tokens? ~, cost_before $, change +$, change_percent +%
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
(SELECT if(count() = 0, toDate('2149-06-06'), min(date)) FROM ccusage_usage_daily FINAL) AS recorded,
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
        lagInFrame(cost) OVER (ORDER BY date ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before,
        -- what was not recorded yet is not nothing used
        if(date > recorded, before, NULL) AS cost_before
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
WHERE date > today - days AND date <= today -- it is tomorrow already where somebody else works
ORDER BY date DESC;

-- name: most_expensive_days
-- Which days cost the most, and how many times the average day?
-- shown: ranking "Most expensive days" in page | date day, cost $, tokens ~, times_average .
-- tunables: top 1..1000000
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
-- How much more or less did each week, Monday to Sunday, cost than the week before (this one: to the same day)?
-- shown: comparison "Week against week" of its own period | week day, so_far? yes, cost $, tokens? ~, cost_before $,
--     change +$, change_percent +%
-- tunables: weeks 1..2800
WITH 12 AS weeks, 'UTC' AS zone, toDate(now(zone)) AS today,
(SELECT if(count() = 0, toDate('2149-06-06'), min(date)) FROM ccusage_usage_daily FINAL) AS recorded,
per_day AS
(
    SELECT date, total_cost AS day_cost, total_tokens AS day_tokens
    FROM ccusage_usage_daily FINAL
    WHERE date >= toMonday(today) - 7 * weeks AND date <= today
    UNION ALL
    SELECT toMonday(today) - 7 * arrayJoin(range(weeks + 1)), 0, 0
),
-- a day counts for its own week, and for the next one as what was before: for this week only up to today's weekday
counted AS
(
    SELECT toMonday(date) AS week, day_cost AS cost_now, day_tokens AS tokens_now, 0. AS cost_then
    FROM per_day
    UNION ALL
    SELECT toMonday(date) + 7, 0., 0, day_cost
    FROM per_day
    WHERE date + 7 <= today
)
SELECT
    week,
    week = toMonday(today) AS so_far,
    sum(cost_now) AS cost,
    sum(tokens_now) AS tokens,
    if(recorded > week - 7, NULL, sum(cost_then)) AS cost_before,
    cost - cost_before AS change,
    if(cost_before = 0, NULL, 100 * change / cost_before) AS change_percent
FROM counted
WHERE week > toMonday(today) - 7 * weeks
GROUP BY week
ORDER BY week DESC;

-- name: streaks
-- How many days in a row have had usage, now (today may be still to come) and at most?
-- shown: figures "Days in a row" of its own period in stats, page | current_streak #, current_since day,
--     longest_streak #, longest_from day, longest_to day
WITH 'UTC' AS zone, toDate(now(zone)) AS today,
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
-- shown: table "Longest streaks" of its own period | days_in_a_row #, first_day day, last_day day, cost $
-- tunables: top 1..1000000
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
-- shown: ranking "Top models" in stats | model model, cost $, tokens ~, days_used? #
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
-- shown: ranking "Share of models" in glance 21 | model model, cost $, cost_percent %, tokens ~,
--     tokens_percent? %
-- glance: models
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
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
-- shown: table "Models by day" | date day, model model, cost $, tokens ~
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today
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
-- shown: table "Models by month" of its own period in page | month, model model, cost $, percent_of_month %,
--     tokens ~
-- tunables: months 1..650
WITH 12 AS months, 'UTC' AS zone, toDate(now(zone)) AS today,
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
-- shown: table "Tokens for a dollar" | model model, cost $, tokens_per_dollar ~, output_tokens_per_dollar ~
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
-- shown: table "Dearest models by million tokens" | model model, cost_per_million_tokens $,
--     cost_per_million_output_tokens $, cost $
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
-- What does each model cost in this month (or day, week, year), and what did it in the one before, to the same day?
-- shown: comparison "Models compared" of its own period | model model, cost $, cost_before_to_same_day $,
--     cost_before $, change +$, change_percent +%
-- tunables: period day|week|month|year
WITH 'month' AS period, 'UTC' AS zone, toDate(now(zone)) AS today,
toDate(
    multiIf(period = 'day', today, period = 'week', toMonday(today), period = 'month', toStartOfMonth(today), toStartOfYear(today))
) AS first_day,
toDate(
    multiIf(
        period = 'day', first_day - 1,
        period = 'week', first_day - 7,
        period = 'month', addMonths(first_day, -1),
        addYears(first_day, -1)
    )
) AS first_day_before,
(SELECT if(count() = 0, toDate('2149-06-06'), min(date)) FROM ccusage_usage_daily FINAL) AS recorded,
-- of a year by its name: one of the two may have a day more before it
if(period = 'year', addYears(today, -1), least(first_day_before + (today - first_day), first_day - 1)) AS same_day_before,
used AS
(
    SELECT
        model_name,
        toDateOrZero(record_key) AS day,
        cost
    FROM ccusage_model_breakdowns FINAL
    WHERE record_type = 'daily' AND day BETWEEN first_day_before AND today
)
SELECT
    toString(model_name) AS model,
    sumIf(used.cost, day >= first_day) AS cost,
    -- a day that is not over is not held against a whole one; what was not recorded yet is not nothing used
    if(period = 'day' OR recorded > same_day_before, NULL, sumIf(used.cost, day <= same_day_before)) AS cost_before_to_same_day,
    if(recorded >= first_day, NULL, sumIf(used.cost, day < first_day)) AS cost_before,
    -- of the part of both that was recorded
    sumIf(used.cost, day >= first_day + greatest(dateDiff('day', first_day_before, recorded), 0)) - cost_before_to_same_day AS change,
    if(cost_before_to_same_day = 0, NULL, 100 * change / cost_before_to_same_day) AS change_percent
FROM used
GROUP BY model
ORDER BY cost DESC, model;

-- name: new_models
-- When was each model first used, and when last, the newest first?
-- shown: table "New models" of its own period | model model, first_day day, last_day day, days_used #, days_since #
WITH 'UTC' AS zone, toDate(now(zone)) AS today
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
-- shown: ranking "Top projects" in stats | project project, cost $, tokens ~, days_used? #
SELECT
    project_id AS project,
    sum(total_cost) AS cost,
    sum(total_tokens) AS tokens,
    uniqExact(date) AS days_used
FROM ccusage_usage_projects_daily FINAL
GROUP BY project
ORDER BY cost DESC, project;

-- name: project_share
-- What part of the last days' cost does each project take?
-- shown: ranking "Share of projects" in glance 22 | project project, cost $, percent %, tokens ~
-- glance: projects
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
per_project AS
(
    SELECT project_id AS project, sum(total_cost) AS project_cost, sum(total_tokens) AS tokens
    FROM ccusage_usage_projects_daily FINAL
    WHERE date > today - days
    GROUP BY project
),
shared AS
(
    SELECT project, project_cost, tokens, sum(project_cost) OVER () AS all_cost
    FROM per_project
)
SELECT
    project,
    project_cost AS cost,
    if(all_cost = 0, 0, 100 * project_cost / all_cost) AS percent,
    tokens
FROM shared
ORDER BY cost DESC, project;

-- name: project_days
-- What did each project cost on each of the last days?
-- shown: table "Projects by day" | date day, project project, cost $, tokens ~
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today
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
-- shown: table "Projects by month" of its own period | month day, project project, cost $, tokens ~, days_used? #,
--     first_day? day, last_day? day
-- tunables: months 1..650
WITH 12 AS months, 'UTC' AS zone, toDate(now(zone)) AS today
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
-- shown: table "Projects by cost of their tokens" | project project, cost $, cost_per_million_tokens $,
--     cost_per_day_used $, cache_hit_percent? %, output_percent? %
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
-- shown: table "How few projects make up the cost" | rank #, project project, cost $, percent %, percent_together %
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
-- shown: table "Projects on several machines" | project project, machines #, machine_names, cost $, last_day day
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
-- shown: table "Models by project" in page | project project, model model, cost $, percent_of_project %, tokens? ~
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
-- shown: figures "Sessions" in stats, page | sessions #, average_cost $, highest_cost $
SELECT
    count() AS sessions,
    if(sessions = 0, 0, sum(total_cost) / sessions) AS average_cost,
    max(total_cost) AS highest_cost
FROM ccusage_usage_sessions FINAL;

-- name: dearest_sessions
-- Which sessions cost the most?
-- shown: table "Dearest sessions" in page | session_id id, project project, agent?, machine_name?, user_name?,
--     last_activity time, cost $, tokens ~, models? #
-- tunables: top 1..1000000
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
-- shown: table "Longest sessions" | session_id id, project project, agent?, machine_name?, user_name?,
--     first_message? time, last_message time, minutes min, cost $, tokens? ~
-- tunables: top 1..1000000
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
-- shown: table "Sessions by what they cost" | dollars, sessions #, percent_of_sessions %, cost $, percent_of_cost %
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
-- shown: table "Sessions from the cheapest to the dearest" | percent_of_sessions %, cost_at_most $,
--     tokens_at_most ~, minutes_at_most min
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
    if(empty(minutes_of_each), NULL, minutes_of_each[toUInt32(ceil(length(minutes_of_each) * level.2 / 100))]) AS minutes_at_most
FROM levels
CROSS JOIN sessions
WHERE notEmpty(costs)
ORDER BY level.1;

-- name: session_days
-- How many sessions ended on each of the last days, and what did they cost?
-- shown: bars "Sessions by day, and their cost" | date day, sessions #, cost $, cost_per_session $
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today
SELECT
    toDate(last_activity, zone) AS date,
    count() AS sessions,
    sum(total_cost) AS cost,
    if(sessions = 0, 0, cost / sessions) AS cost_per_session
FROM ccusage_usage_sessions FINAL
WHERE last_activity >= toDateTime(today - days + 1, zone)
GROUP BY date
ORDER BY date;

-- name: sessions_by_project
-- How many sessions did each project have, and what did one cost?
-- shown: ranking "Sessions by project" | project project, sessions #, cost $, cost_per_session $,
--     tokens_per_session? ~
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
-- shown: bars "Cost by hour of the day, {zone}" in stats, page | hour hour, blocks #, cost $, tokens ~
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
-- shown: bars "Cost by day of the week" in stats, page | day_of_week -, name, days_used #, cost $, tokens? ~,
--     cost_per_day_used $
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
-- shown: heatmap "Cost by weekday and hour, {zone}" | day_of_week weekday, hour hour, blocks #, cost $
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
-- shown: table "Weeks" of its own period | week day, so_far? yes, days_used #, cost $, tokens ~, cost_per_day_used $
-- tunables: weeks 1..2800
WITH 26 AS weeks, 'UTC' AS zone, toDate(now(zone)) AS today
SELECT
    toMonday(date) AS week,
    toMonday(max(date)) = toMonday(today) AS so_far,
    uniqExact(date) AS days_used,
    sum(total_cost) AS cost,
    sum(total_tokens) AS tokens,
    if(days_used = 0, 0, cost / days_used) AS cost_per_day_used
FROM ccusage_usage_daily FINAL
WHERE date >= toMonday(today) - 7 * (weeks - 1)
GROUP BY week
ORDER BY week DESC;

-- name: months
-- What did each month cost, and how much more or less than the month before (this one: to the same day)?
-- shown: comparison "Months" of its own period in page | month, so_far? yes, cost $, tokens? ~, change +$,
--     change_percent +%, cost_per_million_tokens? $
WITH 'UTC' AS zone, toDate(now(zone)) AS today,
(
    SELECT sum(total_cost)
    FROM ccusage_usage_daily FINAL
    WHERE date >= toStartOfMonth(today) - INTERVAL 1 MONTH
        AND date < least(toStartOfMonth(today), toStartOfMonth(today) - INTERVAL 1 MONTH + toDayOfMonth(today))
) AS last_month_to_same_day,
(SELECT min(date) FROM ccusage_usage_daily FINAL) AS recorded,
per_month AS
(
    SELECT
        month,
        max(month_cost) AS cost,
        max(month_tokens) AS tokens,
        month = min(month) OVER () AND month = formatDateTime(recorded, '%Y-%m') AND toDayOfMonth(recorded) > 1 AS is_part
    FROM
    (
        SELECT month, sum(total_cost) AS month_cost, sum(total_tokens) AS month_tokens
        FROM ccusage_usage_monthly FINAL
        GROUP BY month
        UNION ALL
        -- as of a day in the past its month is what its days were until then: the whole month's row is not of that time
        SELECT formatDateTime(date, '%Y-%m') AS month, sum(total_cost), sum(total_tokens)
        FROM ccusage_usage_daily FINAL
        WHERE date BETWEEN toStartOfMonth(today) AND today
        GROUP BY month
    )
    GROUP BY month
),
compared AS
(
    SELECT
        month,
        month = formatDateTime(today, '%Y-%m') AS so_far,
        cost,
        tokens,
        -- nothing is held against a first month of which a part was not recorded; one that is not there has cost nothing
        lagInFrame((month, if(is_part, NULL, cost)), 1, ('', NULL)) OVER (ORDER BY month ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
            AS before,
        formatDateTime(addMonths(toDate(concat(month, '-01')), -1), '%Y-%m') AS month_before,
        if(before.1 = '' OR before.1 = month_before, before.2, 0) AS whole_before,
        if(so_far AND whole_before IS NOT NULL, last_month_to_same_day, whole_before) AS cost_before
    FROM per_month
)
SELECT
    month,
    so_far,
    cost,
    tokens,
    cost - cost_before AS change,
    if(cost_before = 0, NULL, 100 * change / cost_before) AS change_percent,
    if(tokens = 0, 0, 1000000 * cost / tokens) AS cost_per_million_tokens
FROM compared
ORDER BY month DESC;

-- name: heatmap
-- What did each day of the last year cost, days off included? Of days without usage: how many messages did Claude Code count?
-- shown: heatmap "Cost by day" in stats | date day, day_of_week -, cost $, tokens ~, messages #
-- tunables: days 1..20000
WITH 365 AS days, 'UTC' AS zone, toDate(now(zone)) AS today
SELECT
    date,
    toDayOfWeek(date) AS day_of_week,
    sum(day_cost) AS cost,
    sum(day_tokens) AS tokens,
    if(tokens = 0, sum(day_messages), 0) AS messages
FROM
(
    SELECT date, total_cost AS day_cost, total_tokens AS day_tokens, 0 AS day_messages
    FROM ccusage_usage_daily FINAL
    WHERE date > today - days
    UNION ALL
    SELECT date, 0, 0, ccusage_activity.messages
    FROM ccusage_activity FINAL
    WHERE date > today - days AND date <= today
    UNION ALL
    SELECT today - arrayJoin(range(days)), 0, 0, 0
)
GROUP BY date
ORDER BY date;

-- name: days_before_logs
-- Of which days does Claude Code itself know messages, sessions and tool calls, and no usage is stored?
-- shown: table "Days known by their activity alone" in page | date day, agent?, machine_name?, user_name?, messages #,
--     sessions #, tool_calls #
SELECT
    date,
    source AS agent,
    machine_name,
    user_name,
    sum(ccusage_activity.messages) AS messages,
    sum(ccusage_activity.sessions) AS sessions,
    sum(ccusage_activity.tool_calls) AS tool_calls
FROM ccusage_activity FINAL
WHERE (date, source, machine_name, user_name) NOT IN
(
    SELECT date, source, machine_name, user_name
    FROM ccusage_usage_daily FINAL
    WHERE total_tokens > 0
)
GROUP BY date, source, machine_name, user_name
ORDER BY date DESC, agent, machine_name, user_name;

-- section: Cache

-- name: cache_hit_ratio
-- What part of the tokens that were sent came from the prompt cache, and how often was a cached token read?
-- shown: figures "Prompt cache" in page | input ~, cache_creation ~, cache_read ~, hit_percent %,
--     reads_per_written_token .
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
-- shown: table "Prompt cache by day" | date day, cache_creation ~, cache_read ~, hit_percent %
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
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
-- shown: table "Prompt cache by model" | model model, cache_creation ~, cache_read ~, hit_percent %
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
-- shown: table "Saved by the prompt cache, an estimate" in stats, page | model model, cost $, cost_without_cache $,
--     saved $, saved_percent %
-- tunables: claude_output 1..100, other_output 1..100, cache_write 0..10, cache_hit 0..10
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
-- shown: table "Saved by the prompt cache by month, an estimate" of its own period | month, cost $,
--     cost_without_cache $, saved $
-- tunables: claude_output 1..100, other_output 1..100, cache_write 0..10, cache_hit 0..10
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
-- shown: table "Running billing blocks" of its own period in glance 39, stats, page | machine_name, user_name?,
--     source?, cost $, tokens ~, minutes_left min, burn_rate $, projected_cost $, whose -
-- glance: block | {cost} | {minutes_left} left | {burn_rate} an hour[, {projected_cost} at its end] | {whose}
SELECT
    machine_name,
    user_name,
    source,
    cost_usd AS cost,
    total_tokens AS tokens,
    dateDiff('minute', now('UTC'), end_time) AS minutes_left,
    burn_rate,
    `projection` AS projected_cost,
    multiIf(
        count() OVER () = 1, '',
        uniqExact(user_name) OVER () = 1, toString(machine_name),
        concat(user_name, ' on ', machine_name)
    ) AS whose
FROM ccusage_usage_blocks FINAL
WHERE is_active = 1 AND is_gap = 0 AND end_time > now('UTC') AND start_time > now('UTC') - INTERVAL 1 DAY  -- none is longer
ORDER BY start_time, source, machine_name, user_name;

-- name: burn_rate_against_history
-- Does the running block burn more dollars an hour than the blocks before it?
-- shown: table "Burn rate against earlier blocks" | machine_name?, user_name?, source?, block_id? id,
--     burn_rate_by_ccusage? $, rate_now $, median_rate_before $, ninetieth_percentile $, times_median .,
--     blocks_compared? #
-- tunables: days 1..20000
WITH 90 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
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
    WHERE start_time >= toDateTime(today - days, zone) AND is_gap = 0 AND NOT (is_active = 1 AND end_time > now('UTC'))
),
history AS
(
    SELECT
        machine_name,
        user_name,
        source,
        count() AS blocks_before,
        quantileExactInclusive(0.5)(rate) AS median_rate,
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
    WHERE start_time >= toDateTime(today - days, zone) AND is_gap = 0 AND is_active = 1 AND end_time > now('UTC')
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
-- shown: table "Largest blocks" in page | user_name?, source?, machine_name?, start_time time, tokens ~,
--     percent_of_largest %, cost $
-- tunables: percent 1..100, top 1..1000000
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
-- shown: table "Blocks that ran into the limit" | start_time time, machine_name?, user_name?, source?,
--     limit_reset time, tokens ~, cost $
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
-- shown: table "Longest pauses" | machine_name?, user_name?, source?, gap_start time, gap_end time, hours h
-- tunables: top 1..1000000
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
-- How many blocks were started on each of the last days, and what did they cost?
-- shown: table "Blocks by day" | date day, blocks #, cost $, tokens ~, messages? #, highest_cost $
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today
SELECT
    toDate(start_time, zone) AS date,
    count() AS blocks,
    sum(cost_usd) AS cost,
    sum(total_tokens) AS tokens,
    sum(entries) AS messages,
    max(cost_usd) AS highest_cost
FROM ccusage_usage_blocks FINAL
WHERE start_time >= toDateTime(today - days + 1, zone) AND is_gap = 0
GROUP BY date
ORDER BY date;

-- name: typical_block
-- What does a billing block hold, on average, in the middle and at its most?
-- shown: table "A typical block" in page | user_name, source, blocks #, average_cost $, median_cost $,
--     highest_cost $, median_tokens? ~, most_tokens? ~, average_messages? .
SELECT
    user_name,
    source,
    count() AS blocks,
    avg(cost_usd) AS average_cost,
    quantileExactInclusive(0.5)(cost_usd) AS median_cost,
    max(cost_usd) AS highest_cost,
    quantileExactInclusive(0.5)(total_tokens) AS median_tokens,
    max(total_tokens) AS most_tokens,
    avg(entries) AS average_messages
FROM ccusage_usage_blocks FINAL
WHERE is_gap = 0
GROUP BY user_name, source
ORDER BY blocks DESC, user_name, source;

-- section: Forecasts

-- name: month_end
-- What will this month have cost at its end, at the pace of the last whole days?
-- shown: figures "This month" of its own period in stats, page | month, cost_so_far $, days_left #,
--     cost_per_day $, forecast $, last_month_cost $
-- tunables: days 1..20000
WITH 14 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
-- The month so far, and for each day to come the average of the last whole days, days off included; for today
-- that average, too, unless today has cost more already.
pace AS
(
    SELECT
        sumIf(total_cost, date = today) AS cost_today,
        sumIf(total_cost, date >= toStartOfMonth(today)) AS cost_so_far,
        sumIf(total_cost, date < toStartOfMonth(today) AND date >= toStartOfMonth(today) - INTERVAL 1 MONTH) AS last_month,
        least(days, dateDiff('day', min(date), today)) AS whole_days,
        if(whole_days <= 0, cost_today, sumIf(total_cost, date < today AND date >= today - days) / whole_days) AS pace_per_day
    FROM ccusage_usage_daily FINAL
    WHERE date <= today
)
SELECT
    formatDateTime(today, '%Y-%m') AS month,
    cost_so_far,
    dateDiff('day', today, toLastDayOfMonth(today)) AS days_left,
    pace_per_day AS cost_per_day,
    cost_so_far - cost_today + greatest(cost_today, cost_per_day) + cost_per_day * days_left AS forecast,
    last_month AS last_month_cost
FROM pace;

-- name: budgets
-- What is spent of the day's and of the month's budget, and will the month's hold, at the pace of the last whole days?
-- shown: table "Budget" of its own period in glance 34, stats, page | budget, dollars $, spent $, remaining $, forecast $
-- glance: budget | {spent} | of {dollars} a {budget}, {remaining} left[, forecast {forecast}]
-- tunables: budget_day 0..1000000000000, budget_month 0..1000000000000, days 1..20000
WITH 0.0 AS budget_day, 0.0 AS budget_month, 14 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
pace AS
(
    SELECT
        sumIf(total_cost, date = today) AS cost_today,
        sumIf(total_cost, date >= toStartOfMonth(today)) AS cost_so_far,
        least(days, dateDiff('day', min(date), today)) AS whole_days,
        if(whole_days <= 0, cost_today, sumIf(total_cost, date < today AND date >= today - days) / whole_days) AS cost_per_day
    FROM ccusage_usage_daily FINAL
    WHERE date <= today
)
SELECT
    line.1 AS budget,
    line.2 AS dollars,
    line.3 AS spent,
    dollars - spent AS remaining,
    line.4 AS forecast
FROM
(
    SELECT
        cost_so_far - cost_today + greatest(cost_today, cost_per_day)
            + cost_per_day * dateDiff('day', today, toLastDayOfMonth(today)) AS month_forecast,
        arrayJoin(
            [
                ('month', toFloat64(budget_month), cost_so_far, toNullable(month_forecast)),
                ('day', toFloat64(budget_day), cost_today, NULL)
            ]
        ) AS line
    FROM pace
)
WHERE dollars > 0
ORDER BY budget DESC;

-- name: linear_trend
-- Is the daily cost rising or falling, and what will the next days cost if it goes on so?
-- shown: figures "Trend" of its own period in page | cost_per_day_now $, change_per_day +$, next_7_days $, next_30_days $
-- tunables: days 2..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
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
    -- what was not recorded yet is not nothing used
    WHERE date >= (SELECT min(date) FROM ccusage_usage_daily FINAL)
    GROUP BY date
),
fitted AS
(
    SELECT
        simpleLinearRegression(dateDiff('day', today, date), cost) AS fit,
        -- of one day, or none, there is no line
        (ifNotFinite(fit.1, 0), ifNotFinite(fit.2, ifNotFinite(avg(cost), 0))) AS line
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
-- shown: figures "Budget of the month" of its own period | monthly_budget $, cost_so_far $, dollars_left $,
--     cost_per_day $, days_left #, days_to_reach #, reached_on day
-- tunables: budget_month 0..1000000000000, days 1..20000
WITH 0.0 AS budget_month, 14 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
pace AS
(
    SELECT
        sumIf(total_cost, date = today) AS cost_today,
        sumIf(total_cost, date >= toStartOfMonth(today)) AS cost_so_far,
        least(days, dateDiff('day', min(date), today)) AS whole_days,
        if(whole_days <= 0, cost_today, sumIf(total_cost, date < today AND date >= today - days) / whole_days) AS pace_per_day
    FROM ccusage_usage_daily FINAL
    WHERE date <= today
)
SELECT
    toFloat64(budget_month) AS monthly_budget,
    cost_so_far,
    greatest(monthly_budget - cost_so_far, 0) AS dollars_left,
    pace_per_day AS cost_per_day,
    dateDiff('day', today, toLastDayOfMonth(today)) AS days_left,
    multiIf(
        cost_so_far >= monthly_budget, 0,
        cost_so_far + cost_per_day * days_left < monthly_budget, NULL,  -- not in this month
        toUInt32(ceil(dollars_left / cost_per_day))
    ) AS days_to_reach,
    today + days_to_reach AS reached_on
FROM pace
WHERE monthly_budget > 0;

-- name: year_end
-- What will this year have cost at its end, at the pace of the last whole days?
-- shown: figures "This year" of its own period in page | year, cost_so_far $, days_left #, cost_per_day $,
--     forecast $
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
pace AS
(
    SELECT
        sumIf(total_cost, date = today) AS cost_today,
        sumIf(total_cost, date >= toStartOfYear(today)) AS cost_so_far,
        least(days, dateDiff('day', min(date), today)) AS whole_days,
        if(whole_days <= 0, cost_today, sumIf(total_cost, date < today AND date >= today - days) / whole_days) AS pace_per_day
    FROM ccusage_usage_daily FINAL
    WHERE date <= today
)
SELECT
    toYear(today) AS year,
    cost_so_far,
    dateDiff('day', today, makeDate(toYear(today), 12, 31)) AS days_left,
    pace_per_day AS cost_per_day,
    cost_so_far - cost_today + greatest(cost_today, cost_per_day) + cost_per_day * days_left AS forecast
FROM pace;

-- section: Anomalies

-- name: unusual_days
-- Which days cost far more or less than the average day with usage?
-- shown: table "Unusual days" in page | date day, cost $, tokens? ~, average_cost $, deviations_away .
-- tunables: days 1..20000, deviations 0..100
WITH 90 AS days, 2 AS deviations, 'UTC' AS zone, toDate(now(zone)) AS today,
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
-- shown: table "Unusual sessions" | session_id id, project project, agent?, machine_name?, user_name?,
--     last_activity time, cost $, deviations_away .
-- tunables: days 1..20000, deviations 0..100
WITH 90 AS days, 3 AS deviations, 'UTC' AS zone, toDate(now(zone)) AS today,
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
    WHERE last_activity >= toDateTime(today - days + 1, zone)
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
-- shown: table "Models without a price" in stats, page | agent, model model, tokens ~, first_day day, last_day day
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
-- shown: ranking "Machines and users" in stats | machine_and_user, cost $, tokens ~, last_day? day
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
-- shown: shares "Machines" in glance 24 | machine_name, cost $, percent %, tokens ~, days_used #, users? #
-- glance: machines
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
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
-- shown: table "Machines by month" of its own period | month, machine_name, cost $, tokens ~
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
-- shown: ranking "Agents" in stats | agent, cost $, tokens ~, days_used? #
SELECT
    source AS agent,
    sum(total_cost) AS cost,
    sum(total_tokens) AS tokens,
    uniqExact(date) AS days_used
FROM ccusage_usage_daily FINAL
GROUP BY agent
ORDER BY cost DESC, agent;

-- name: agent_share
-- What part of the last days' cost does each agent take?
-- shown: shares "Share of agents" in glance 23 | agent, cost $, percent %, tokens ~
-- glance: agents
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
per_agent AS
(
    SELECT source AS agent, sum(total_cost) AS agent_cost, sum(total_tokens) AS tokens
    FROM ccusage_usage_daily FINAL
    WHERE date > today - days
    GROUP BY agent
),
shared AS
(
    SELECT agent, agent_cost, tokens, sum(agent_cost) OVER () AS all_cost
    FROM per_agent
)
SELECT
    agent,
    agent_cost AS cost,
    if(all_cost = 0, 0, 100 * agent_cost / all_cost) AS percent,
    tokens
FROM shared
ORDER BY cost DESC, agent;

-- name: agent_months
-- How is each month's cost divided between the agents?
-- shown: table "Agents by month" of its own period | month, agent, cost $, percent_of_month %, tokens ~
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
-- shown: table "Agents by cost of their tokens" | agent, cost_per_million_tokens $, cost_per_day_used $,
--     cache_hit_percent %
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
-- shown: table "Users by week" of its own period | week day, place #, user_name, cost $, tokens ~, days_used? #
-- tunables: weeks 1..2800
WITH 8 AS weeks, 'UTC' AS zone, toDate(now(zone)) AS today,
per_user AS
(
    SELECT
        toMonday(date) AS week,
        user_name,
        sum(total_cost) AS cost,
        sum(total_tokens) AS tokens,
        uniqExact(date) AS days_used
    FROM ccusage_usage_daily FINAL
    WHERE date >= toMonday(today) - 7 * (weeks - 1)
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
-- shown: table "Users by month" of its own period | month, place #, user_name, cost $, tokens ~
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
-- shown: table "Active days of users" of its own period in page | user_name, days_used_lately #, days_used #, first_day? day,
--     last_day day, machines? #, cost $, cost_per_day_used $
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today
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
-- shown: table "Favourite models by tokens in {days} days" in stats, page | user_name, model model, tokens ~, percent_of_tokens %,
--     cost $
-- tunables: days 1..20000
WITH 90 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
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

-- name: user_share
-- What part of the last days' cost does each user make?
-- shown: shares "Shares of users in {days} days" in stats, page | user_name, cost $, percent %, tokens ~, days_used? #
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
per_user AS
(
    SELECT user_name, sum(total_cost) AS user_cost, sum(total_tokens) AS tokens, uniqExact(date) AS days_used
    FROM ccusage_usage_daily FINAL
    WHERE date > today - days
    GROUP BY user_name
),
shared AS
(
    SELECT user_name, user_cost, tokens, days_used, sum(user_cost) OVER () AS all_cost
    FROM per_user
)
SELECT
    user_name,
    user_cost AS cost,
    if(all_cost = 0, 0, 100 * user_cost / all_cost) AS percent,
    tokens,
    days_used
FROM shared
ORDER BY cost DESC, user_name;

-- name: user_projects
-- What part of each project's cost does each user make, and what part of a user's goes to it?
-- shown: table "Users by project" in page | project project, user_name, cost $, percent_of_project %, percent_of_user? %,
--     tokens ~
-- tunables: days 1..20000, top 1..1000000
WITH 30 AS days, 100 AS top, 'UTC' AS zone, toDate(now(zone)) AS today,
per_user AS
(
    SELECT project_id, user_name, sum(total_cost) AS part_cost, sum(total_tokens) AS tokens
    FROM ccusage_usage_projects_daily FINAL
    WHERE date > today - days
    GROUP BY project_id, user_name
),
shared AS
(
    SELECT
        project_id,
        user_name,
        part_cost,
        tokens,
        sum(part_cost) OVER (PARTITION BY project_id) AS project_cost,
        sum(part_cost) OVER (PARTITION BY user_name) AS user_cost
    FROM per_user
)
SELECT
    project_id AS project,
    user_name,
    part_cost AS cost,
    if(project_cost = 0, 0, 100 * part_cost / project_cost) AS percent_of_project,
    if(user_cost = 0, 0, 100 * part_cost / user_cost) AS percent_of_user,
    tokens
FROM shared
ORDER BY project_cost DESC, project, cost DESC, user_name
LIMIT top;

-- name: new_users
-- Who is new: used an agent for the first time in the last days?
-- shown: table "New users" of its own period in page | user_name, first_day day, days_ago #, machines? #, days_used #, cost $
-- tunables: new_days 1..20000
WITH 30 AS new_days, 'UTC' AS zone, toDate(now(zone)) AS today
SELECT
    user_name,
    min(date) AS first_day,
    dateDiff('day', first_day, today) AS days_ago,
    uniqExact(machine_name) AS machines,
    uniqExact(date) AS days_used,
    sum(total_cost) AS cost
FROM ccusage_usage_daily FINAL
GROUP BY user_name
HAVING first_day > today - new_days
ORDER BY first_day DESC, user_name;

-- name: stopped_users
-- Who has stopped importing: nothing has come of any machine for days?
-- shown: table "Users who have stopped importing" of its own period in page | user_name, last_import time, days_ago #,
--     imports_in_the_month_before? #, last_day day, cost? $
-- tunables: stopped_days 1..20000
WITH 3 AS stopped_days,
imported AS
(
    SELECT
        user_name,
        max(import_timestamp) AS newest,
        arrayCount(moment -> moment > newest - 30 * 86400, groupArray(import_timestamp)) AS imports
    FROM ccusage_import_history FINAL
    WHERE status != 'failed'
    GROUP BY user_name
),
used AS
(
    SELECT user_name, toNullable(max(date)) AS last_day, sum(total_cost) AS cost
    FROM ccusage_usage_daily FINAL
    GROUP BY user_name
)
SELECT
    user_name,
    newest AS last_import,
    dateDiff('day', newest, now('UTC')) AS days_ago,
    imports AS imports_in_the_month_before,
    last_day,
    cost
FROM imported
LEFT JOIN used USING (user_name)
WHERE newest < now('UTC') - 86400 * stopped_days
ORDER BY last_import, user_name;

-- name: user_budgets
-- What has each user spent of the budgets in ccusage_budgets, and will the month's hold, at the pace of the last whole days?
-- shown: table "Budgets of users" of its own period in stats, page | user_name, budget, dollars $, spent $, remaining $,
--     forecast $
-- tunables: days 1..20000
WITH 14 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
pace AS
(
    SELECT
        user_name,
        sumIf(total_cost, date = today) AS cost_today,
        sumIf(total_cost, date >= toStartOfMonth(today)) AS cost_so_far,
        least(days, dateDiff('day', min(date), today)) AS whole_days,
        if(whole_days <= 0, cost_today, sumIf(total_cost, date < today AND date >= today - days) / whole_days) AS cost_per_day
    FROM ccusage_usage_daily FINAL
    WHERE date <= today
    GROUP BY user_name
)
SELECT
    user_name,
    toString(period) AS budget,
    dollars,
    if(period = 'day', cost_today, cost_so_far) AS spent,
    dollars - spent AS remaining,
    if(
        period = 'day',
        NULL,
        cost_so_far - cost_today + greatest(cost_today, cost_per_day)
            + cost_per_day * dateDiff('day', today, toLastDayOfMonth(today))
    ) AS forecast
FROM ccusage_budgets FINAL
LEFT JOIN pace USING (user_name)
WHERE dollars > 0
ORDER BY remaining, user_name, budget;

-- name: team_week
-- What did each user use on each of the last days, with which models?
-- shown: table "Users by day" | user_name, date day, cost $, tokens ~, models models
-- tunables: days 1..20000
WITH 7 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
by_model AS
(
    SELECT user_name, day, arraySort(used -> (-used.2, used.1), groupArray((model, model_cost, model_tokens))) AS models
    FROM
    (
        SELECT
            user_name,
            toDate(record_key) AS day,
            toString(model_name) AS model,
            sum(cost) AS model_cost,
            sum(total_tokens) AS model_tokens
        FROM ccusage_model_breakdowns FINAL
        WHERE record_type = 'daily' AND record_key > toString(today - days)
        GROUP BY user_name, day, model
    )
    GROUP BY user_name, day
),
by_day AS
(
    SELECT user_name, date AS day, sum(total_cost) AS cost, sum(total_tokens) AS tokens
    FROM ccusage_usage_daily FINAL
    WHERE date > today - days
    GROUP BY user_name, day
)
SELECT user_name, day AS date, cost, tokens, models
FROM by_day
LEFT JOIN by_model USING (user_name, day)
ORDER BY date DESC, cost DESC, user_name;

-- name: team_month
-- What did each user use in the last days, on how many of them, and when last?
-- shown: table "Users in {days} days" in page | user_name, cost $, tokens ~, active_days #, last_active_day day
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today
SELECT
    user_name,
    sum(total_cost) AS cost,
    sum(total_tokens) AS tokens,
    uniqExact(date) AS active_days,
    max(date) AS last_active_day
FROM ccusage_usage_daily FINAL
WHERE date > today - days
GROUP BY user_name
ORDER BY cost DESC, user_name;

-- name: team_models
-- Which models were used in the last days, by how many users?
-- shown: table "Models in {days} days" in page | model model, cost $, tokens ~, users #
-- tunables: days 1..20000
WITH 7 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
used AS
(
    SELECT model_name, user_name, cost AS part_cost, total_tokens
    FROM ccusage_model_breakdowns FINAL
    WHERE record_type = 'daily' AND record_key > toString(today - days)
)
SELECT
    model_name AS model,
    sum(part_cost) AS cost,
    sum(total_tokens) AS tokens,
    uniqExact(user_name) AS users
FROM used
GROUP BY model
ORDER BY cost DESC, model;

-- section: Conversations

-- name: today_work
-- What was done today: prompts, tools, failures, lines?
-- shown: figures "Today's work" of its own period in glance 38 | prompts #, tools #, failed #, added #, removed #
-- glance: today | {prompts} prompts | {tools} tools[, {failed} failed] | +{added} -{removed} lines
WITH 'UTC' AS zone, toDate(now(zone)) AS today,
done AS
(
    SELECT kind = 'prompt' AS is_prompt, 0 AS is_tool, 0 AS is_failed, 0 AS lines_added, 0 AS lines_removed
    FROM ccusage_messages FINAL
    WHERE date = today
    UNION ALL
    SELECT 0, 1, state = 'error', lines_added, lines_removed
    FROM ccusage_tool_calls FINAL
    WHERE date = today
)
SELECT
    nullIf(sum(is_prompt), 0) AS prompts,
    nullIf(sum(is_tool), 0) AS tools,
    nullIf(sum(is_failed), 0) AS failed,
    if(sum(lines_added) + sum(lines_removed) = 0, NULL, sum(lines_added)) AS added,
    if(isNull(added), NULL, sum(lines_removed)) AS removed
FROM done
HAVING sum(is_prompt) + sum(is_tool) > 0;

-- name: prompt_cost
-- What does a prompt cost, with everything that it sets off: sub-agents and tools?
-- shown: figures "Cost per prompt in {days} days" in stats, page | prompts #, average_cost $, median_cost $,
--     ninetieth_percentile_cost $, highest_cost $, responses_per_prompt ., tools_per_prompt ., cost_of_prompts $,
--     cost_without_prompt $
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
-- As ccusage_fct_prompts, which numbers the prompts of all time. What they set off is looked for from a week before: who
-- goes on after a longer pause gives a prompt.
placed AS
(
    SELECT
        *,
        sum(kind != 'response') OVER (
            PARTITION BY source, machine_name, user_name, home_id
            ORDER BY started_at, kind
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS number
    FROM ccusage_fct_turns
    WHERE date > today - days - 7
),
per_prompt AS
(
    SELECT
        sum(placed.cost) AS cost,
        countIf(kind = 'response') AS responses,
        sumIf(tool_uses, kind = 'response') AS tools,
        number > 0 AS is_prompt
    FROM placed
    WHERE (machine_name, user_name) IN
    (
        SELECT machine_name, user_name
        FROM ccusage_messages FINAL
        WHERE kind = 'prompt' AND date >= toStartOfQuarter(today - days)
    )
    GROUP BY source, machine_name, user_name, home_id, number
    HAVING min(date) > today - days AND (responses > 0 OR countIf(kind = 'prompt') > 0)
)
SELECT
    countIf(is_prompt) AS prompts,
    avgIf(cost, is_prompt) AS average_cost,
    quantileExactInclusiveIf(0.5)(cost, is_prompt) AS median_cost,
    quantileExactIf(0.9)(cost, is_prompt) AS ninetieth_percentile_cost,
    maxIf(cost, is_prompt) AS highest_cost,
    avgIf(responses, is_prompt) AS responses_per_prompt,
    avgIf(tools, is_prompt) AS tools_per_prompt,
    sumIf(cost, is_prompt) AS cost_of_prompts,
    sumIf(cost, NOT is_prompt) AS cost_without_prompt
FROM per_prompt
HAVING prompts > 0;

-- name: dearest_prompts
-- Which prompts cost the most, in which sessions?
-- shown: table "Dearest prompts in {days} days" in stats, page | started_at time, project project, session_id id, cost $,
--     responses? #, tools? #, tokens? ~, minutes? min
-- tunables: days 1..20000, top 1..1000000
WITH 30 AS days, 10 AS top, 'UTC' AS zone, toDate(now(zone)) AS today,
-- As in prompt_cost.
placed AS
(
    SELECT
        *,
        sum(kind != 'response') OVER (
            PARTITION BY source, machine_name, user_name, home_id
            ORDER BY started_at, kind
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS number
    FROM ccusage_fct_turns
    WHERE date > today - days - 7
)
SELECT
    min(placed.started_at) AS started_at,
    argMin(project_id, placed.started_at) AS project,
    home_id AS session_id,
    sum(placed.cost) AS cost,
    countIf(kind = 'response') AS responses,
    sumIf(tool_uses, kind = 'response') AS tools,
    sum(total_tokens) AS tokens,
    round(dateDiff('second', started_at, max(ended_at)) / 60, 1) AS minutes
FROM placed
WHERE number > 0
GROUP BY source, machine_name, user_name, home_id, number
HAVING min(date) > today - days AND (responses > 0 OR countIf(kind = 'prompt') > 0)
ORDER BY cost DESC, started_at, session_id, machine_name, user_name
LIMIT top;

-- name: waiting
-- Where does the time go: to the model, to the tools (and their permissions), or to me?
-- shown: ranking "Where the time goes in {days} days" in stats, page | who, hours h, percent %
-- tunables: days 1..20000, away_minutes 1..1440
WITH 30 AS days, 15 AS away_minutes, 'UTC' AS zone, toDate(now(zone)) AS today,
times AS
(
    SELECT if(kind = 'response', 'the model', 'me') AS who, sum(waited_ms) AS spent_ms
    FROM ccusage_messages FINAL
    WHERE date > today - days
        AND NOT is_sidechain
        AND agent_id = ''
        AND (machine_name, user_name) IN
        (
            SELECT machine_name, user_name
            FROM ccusage_messages FINAL
            WHERE kind = 'prompt' AND date >= toStartOfQuarter(today - days)
        )
        AND (kind = 'response' OR (kind IN ('prompt', 'command') AND waited_ms < 60000 * away_minutes))
    GROUP BY who
    UNION ALL
    SELECT 'the tools', sum(duration_ms)
    FROM ccusage_tool_calls FINAL
    WHERE date > today - days AND agent_id = ''
)
SELECT
    who,
    spent_ms / 3600000 AS hours,
    if(sum(spent_ms) OVER () = 0, 0, 100 * spent_ms / sum(spent_ms) OVER ()) AS percent
FROM times
WHERE spent_ms > 0
QUALIFY count() OVER () > 1  -- where conversations are not stored, the model's time alone says nothing
ORDER BY hours DESC, who;

-- name: response_times
-- Has a model become slower?
-- shown: table "Seconds until a model answers, by week" in page | week day, model model, responses #, median_seconds s,
--     slow_seconds s, output_tokens_per_second? .
-- tunables: weeks 1..2800
WITH 12 AS weeks, 'UTC' AS zone, toDate(now(zone)) AS today
SELECT
    toMonday(date) AS week,
    model,
    count() AS responses,
    quantileExactInclusive(0.5)(waited_ms) / 1000 AS median_seconds,
    quantileExact(0.9)(waited_ms) / 1000 AS slow_seconds,
    if(sum(waited_ms) = 0, NULL, 1000 * sum(output_tokens) / sum(waited_ms)) AS output_tokens_per_second
FROM ccusage_messages FINAL
WHERE kind = 'response' AND waited_ms > 0 AND date >= toMonday(today) - 7 * (weeks - 1)
GROUP BY week, model
ORDER BY week DESC, responses DESC, model;

-- name: pause_cost
-- What does a response cost after a pause, when the cache has grown cold?
-- shown: table "What a pause costs" in page | pause, responses #, cost_per_response $, cache_written_percent %, cost $
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
followed AS
(
    SELECT
        cost,
        input_tokens + cache_creation_tokens + cache_read_tokens AS sent,
        cache_creation_tokens,
        dateDiff(
            'second',
            lagInFrame(toNullable(ended_at)) OVER (
                PARTITION BY source, machine_name, user_name, session_id, agent_id
                ORDER BY started_at, message_id
                ROWS BETWEEN 1 PRECEDING AND CURRENT ROW
            ),
            started_at
        ) AS pause
    FROM ccusage_fct_messages
    WHERE kind = 'response'
        AND date > today - days
        AND (machine_name, user_name) IN
        (
            SELECT machine_name, user_name
            FROM ccusage_messages FINAL
            WHERE kind = 'prompt' AND date >= toStartOfQuarter(today - days)
        )
),
grouped AS
(
    SELECT
        multiIf(pause < 300, 1, pause < 3600, 2, 3) AS position,
        count() AS responses,
        sum(followed.cost) AS group_cost,
        sum(cache_creation_tokens) AS written,
        sum(followed.sent) AS sent
    FROM followed
    WHERE pause IS NOT NULL
    GROUP BY position
)
SELECT
    ['under 5 minutes', '5 minutes to an hour', 'over an hour'][position] AS pause,
    responses,
    group_cost / responses AS cost_per_response,
    if(sent = 0, 0, 100 * written / sent) AS cache_written_percent,
    group_cost AS cost
FROM grouped
ORDER BY position;

-- name: context_growth
-- How does the context grow with the responses of a session, and what does a response cost by then?
-- shown: bars "Context by responses of a session" in page | responses_so_far, average_context ~, cost_per_response $,
--     responses #
-- tunables: days 1..20000, step 1..1000
WITH 30 AS days, 10 AS step, 'UTC' AS zone, toDate(now(zone)) AS today,
numbered AS
(
    SELECT
        cost,
        input_tokens + cache_creation_tokens + cache_read_tokens AS context,
        row_number() OVER (PARTITION BY source, machine_name, user_name, session_id ORDER BY started_at, message_id) AS number
    FROM ccusage_fct_messages
    WHERE kind = 'response' AND NOT is_sidechain AND agent_id = '' AND date > today - days
)
SELECT
    concat(toString(intDiv(number - 1, step) * step + 1), ' to ', toString((intDiv(number - 1, step) + 1) * step)) AS responses_so_far,
    avg(context) AS average_context,
    avg(cost) AS cost_per_response,
    count() AS responses
FROM numbered
GROUP BY intDiv(number - 1, step)
ORDER BY intDiv(number - 1, step)
LIMIT 30;

-- name: compactions
-- How often is a context compacted, by itself or when asked, and how large is it by then?
-- shown: table "Compactions" in page | compaction, compactions #, sessions #, average_tokens ~, largest_tokens ~
-- tunables: days 1..20000
WITH 90 AS days, 'UTC' AS zone, toDate(now(zone)) AS today
SELECT
    if(compaction = '', 'unknown', compaction) AS compaction,
    count() AS compactions,
    uniqExact(session_id) AS sessions,
    avg(compacted_tokens) AS average_tokens,
    max(compacted_tokens) AS largest_tokens
FROM ccusage_messages FINAL
WHERE kind = 'compaction' AND date > today - days
GROUP BY ccusage_messages.compaction
ORDER BY compactions DESC, compaction;

-- name: interruptions
-- How often do I interrupt, week by week?
-- shown: table "Interruptions by week" in page | week day, prompts #, interruptions #, percent_of_prompts %, sessions #
-- tunables: weeks 1..2800
WITH 12 AS weeks, 'UTC' AS zone, toDate(now(zone)) AS today
SELECT
    toMonday(date) AS week,
    countIf(kind = 'prompt') AS prompts,
    countIf(kind = 'interruption') AS interruptions,
    if(prompts = 0, NULL, 100 * interruptions / prompts) AS percent_of_prompts,
    uniqExactIf(session_id, kind = 'interruption') AS sessions
FROM ccusage_messages FINAL
WHERE kind IN ('prompt', 'interruption') AND date >= toMonday(today) - 7 * (weeks - 1)
GROUP BY week
ORDER BY week DESC;

-- name: api_errors
-- On which days did the API fail, and how?
-- shown: table "API errors" in page | date day, status #, errors #, sessions? #, errors_per_100_responses .
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
per_status AS
(
    SELECT
        date,
        if(kind = 'response', NULL, toNullable(api_status)) AS status,
        countIf(kind = 'api error') AS failed,
        countIf(kind = 'response') AS answered,
        uniqExact(session_id) AS sessions
    FROM ccusage_messages FINAL
    WHERE kind IN ('response', 'api error') AND date > today - days
        AND (machine_name, user_name) IN
        (
            SELECT machine_name, user_name
            FROM ccusage_messages FINAL
            WHERE kind = 'prompt' AND date >= toStartOfQuarter(today - days)
        )
    GROUP BY date, status
),
compared AS
(
    SELECT date, status, failed, sessions, sum(answered) OVER (PARTITION BY date) AS responses
    FROM per_status
)
SELECT
    date,
    status,
    failed AS errors,
    sessions,
    if(responses = 0, NULL, 100 * failed / responses) AS errors_per_100_responses
FROM compared
WHERE failed > 0
ORDER BY date DESC, errors DESC, status;

-- name: branches
-- What did the work on each branch cost?
-- shown: table "Branches" in page | branch, project project, cost $, sessions #, prompts #, lines #, first_day? day, last_day? day
-- tunables: days 1..20000, top 1..1000000
WITH 90 AS days, 30 AS top, 'UTC' AS zone, toDate(now(zone)) AS today,
branch_of_session AS
(
    SELECT
        session_id,
        source,
        machine_name,
        user_name,
        project_id,
        branch_id,
        sum(cost) AS session_cost,
        countIf(kind = 'prompt') AS session_prompts,
        min(date) AS first_day,
        max(date) AS last_day,
        row_number() OVER (PARTITION BY session_id, source, machine_name, user_name ORDER BY count() DESC, branch_id, project_id) AS place
    FROM ccusage_fct_messages
    WHERE date > today - days
    GROUP BY session_id, source, machine_name, user_name, project_id, branch_id
),
changed AS
(
    SELECT session_id, source, machine_name, user_name, sum(lines_added + lines_removed) AS session_lines, 1 AS place
    FROM ccusage_tool_calls FINAL
    WHERE date > today - days
    GROUP BY session_id, source, machine_name, user_name
)
SELECT
    if(branch_id = '', 'none', branch_id) AS branch,
    project_id AS project,
    sum(session_cost) AS cost,
    uniqExact(session_id) AS sessions,
    sum(session_prompts) AS prompts,
    sum(session_lines) AS lines,
    min(branch_of_session.first_day) AS first_day,
    max(branch_of_session.last_day) AS last_day
FROM branch_of_session
LEFT JOIN changed USING (session_id, source, machine_name, user_name, place)
GROUP BY branch_id, project_id
ORDER BY cost DESC, branch, project
LIMIT top;

-- name: subagents
-- What do sub-agents cost beside the conversations themselves?
-- shown: table "Sub-agents in {days} days" in stats, page | who, responses #, tokens ~, cost $, percent %
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
per_kind AS
(
    SELECT is_sidechain OR agent_id != '' AS is_agent, count() AS responses, sum(total_tokens) AS tokens, sum(cost) AS kind_cost
    FROM ccusage_fct_messages
    WHERE kind = 'response' AND date > today - days
    GROUP BY is_agent
),
shared AS
(
    SELECT is_agent, responses, tokens, kind_cost, sum(kind_cost) OVER () AS all_cost
    FROM per_kind
)
SELECT
    if(is_agent, 'sub-agents', 'conversations') AS who,
    responses,
    tokens,
    kind_cost AS cost,
    if(all_cost = 0, 0, 100 * kind_cost / all_cost) AS percent
FROM shared
ORDER BY cost DESC, who;

-- name: subagent_types
-- Which kinds of sub-agents are sent, how long are they away, and what do they cost?
-- shown: table "Kinds of sub-agents in {days} days" in stats, page | subagent_type, uses #, failed? #, tokens ~, cost $, cost_per_use $,
--     median_minutes min
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
sent AS
(
    SELECT
        source,
        machine_name,
        user_name,
        spawned_agent AS agent_id,
        subagent_type,
        state,
        agent_tokens,
        duration_ms,
        count() OVER (PARTITION BY source, machine_name, user_name, spawned_agent) AS its_uses -- one may be sent again
    FROM ccusage_tool_calls FINAL
    WHERE date > today - days AND (subagent_type != '' OR spawned_agent != '')
),
costs AS
(
    SELECT source, machine_name, user_name, agent_id, sum(cost) AS agent_cost
    FROM ccusage_fct_messages
    WHERE kind = 'response' AND agent_id != '' AND date > today - days - 1
    GROUP BY source, machine_name, user_name, agent_id
)
SELECT
    if(sent.subagent_type = '', 'unknown', sent.subagent_type) AS subagent_type,
    count() AS uses,
    countIf(state = 'error') AS failed,
    sum(agent_tokens) AS tokens,
    sum(agent_cost / its_uses) AS cost,
    cost / uses AS cost_per_use,
    quantileExactInclusive(0.5)(duration_ms) / 60000 AS median_minutes
FROM sent
LEFT JOIN costs USING (source, machine_name, user_name, agent_id)
GROUP BY subagent_type
ORDER BY cost DESC, uses DESC, subagent_type;

-- name: session_shapes
-- What are sessions like: one question, a short talk, a long one?
-- shown: table "Shapes of sessions" in page | shape, sessions #, percent_of_sessions %, cost $, percent_of_cost %,
--     median_minutes? min, tools_per_session? .
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
-- The sessions that went on lately have begun by this day: what they did since then is read, not what all of them did.
(
    SELECT greatest(toDate(ifNull(min(first_activity), toDateTime(0, 'UTC'))), toDate(2)) - 2
    FROM ccusage_usage_sessions FINAL
    WHERE last_activity > today - days - 2
) AS first_day,
talked AS
(
    SELECT
        session_id,
        source,
        machine_name,
        user_name,
        dateDiff('second', min(started_at), max(ended_at)) AS duration_seconds,
        countIf(kind = 'prompt') AS prompts,
        sum(cost) AS total_cost
    FROM ccusage_fct_messages
    WHERE date >= first_day AND (machine_name, user_name) IN
    (
        SELECT machine_name, user_name
        FROM ccusage_messages FINAL
        WHERE kind = 'prompt' AND date >= toStartOfQuarter(today - days)
    )
    GROUP BY session_id, source, machine_name, user_name
    HAVING toDate(max(ended_at), zone) > today - days
),
worked AS
(
    SELECT session_id, source, machine_name, user_name, count() AS tool_calls
    FROM ccusage_tool_calls FINAL
    WHERE date >= first_day - 1
    GROUP BY session_id, source, machine_name, user_name
),
shaped AS
(
    SELECT
        multiIf(prompts = 0, 1, prompts = 1, 2, prompts < 6, 3, prompts < 21, 4, 5) AS position,
        count() AS sessions,
        sum(total_cost) AS shape_cost,
        quantileExactInclusive(0.5)(duration_seconds) / 60 AS median_minutes,
        avg(tool_calls) AS tools_per_session
    FROM talked
    LEFT JOIN worked USING (session_id, source, machine_name, user_name)
    GROUP BY position
),
shared AS
(
    SELECT
        position,
        sessions,
        shape_cost,
        median_minutes,
        tools_per_session,
        sum(sessions) OVER () AS all_sessions,
        sum(shape_cost) OVER () AS all_cost
    FROM shaped
)
SELECT
    ['no prompt', 'one prompt', '2 to 5 prompts', '6 to 20 prompts', 'more than 20'][position] AS shape,
    sessions,
    100 * sessions / all_sessions AS percent_of_sessions,
    shape_cost AS cost,
    if(all_cost = 0, 0, 100 * shape_cost / all_cost) AS percent_of_cost,
    median_minutes,
    tools_per_session
FROM shared
ORDER BY position;

-- name: unproductive_sessions
-- Which sessions cost the most without a line written?
-- shown: table "Dear sessions without a line written" in page | last_message time, project project, session_id id, cost $,
--     prompts #, tools? #, failed? #, minutes? min
-- tunables: days 1..20000, top 1..1000000
WITH 30 AS days, 10 AS top, 'UTC' AS zone, toDate(now(zone)) AS today,
-- The sessions that went on lately have begun by this day: what they did since then is read, not what all of them did.
(
    SELECT greatest(toDate(ifNull(min(first_activity), toDateTime(0, 'UTC'))), toDate(2)) - 2
    FROM ccusage_usage_sessions FINAL
    WHERE last_activity > today - days - 2
) AS first_day,
talked AS
(
    SELECT
        session_id,
        source,
        machine_name,
        user_name,
        any(project_id) AS project,
        max(ended_at) AS last_message,
        dateDiff('second', min(started_at), last_message) / 60 AS minutes,
        countIf(kind = 'prompt') AS prompts,
        sum(fct.cost) AS cost
    FROM ccusage_fct_messages AS fct
    WHERE date >= first_day
    GROUP BY session_id, source, machine_name, user_name
    HAVING prompts > 0 AND toDate(last_message, zone) > today - days
),
worked AS
(
    SELECT
        session_id,
        source,
        machine_name,
        user_name,
        count() AS tools,
        countIf(state = 'error') AS failed,
        sum(lines_added + lines_removed) AS lines
    FROM ccusage_tool_calls FINAL
    WHERE date >= first_day - 1
    GROUP BY session_id, source, machine_name, user_name
)
SELECT last_message, project, session_id, cost, prompts, tools, failed, minutes
FROM talked
LEFT JOIN worked USING (session_id, source, machine_name, user_name)
WHERE lines = 0
ORDER BY cost DESC, session_id, source, machine_name, user_name
LIMIT top;

-- name: work_heatmap
-- At which hours of which weekdays do I give prompts?
-- shown: heatmap "Prompts by weekday and hour, {zone}" in page | day_of_week weekday, hour hour, prompts #
-- tunables: days 1..20000
WITH 'UTC' AS zone, 90 AS days, toDate(now(zone)) AS today
SELECT
    toDayOfWeek(started_at, 0, zone) AS day_of_week,
    toHour(started_at, zone) AS hour,
    count() AS prompts
FROM ccusage_messages FINAL
WHERE kind = 'prompt' AND date > today - days
GROUP BY day_of_week, hour
ORDER BY day_of_week, hour;

-- name: block_contents
-- What filled the last 5-hour blocks: which projects and models?
-- shown: table "What filled the last blocks" in page | start_time time, project project, model model, responses? #, tokens ~,
--     cost $, percent_of_block %
-- tunables: blocks 1..100000
WITH 5 AS blocks,
last_blocks AS
(
    SELECT source, machine_name, user_name, start_time, end_time
    FROM ccusage_usage_blocks FINAL
    WHERE is_gap = 0
    ORDER BY start_time DESC, source, machine_name, user_name
    LIMIT blocks
),
contents AS
(
    SELECT
        last_blocks.start_time AS start_time,
        last_blocks.machine_name AS machine_name,
        last_blocks.user_name AS user_name,
        said.project_id AS project,
        said.model AS model,
        count() AS responses,
        sum(said.total_tokens) AS part_tokens,
        sum(said.cost) AS part_cost
    FROM ccusage_fct_messages AS said
    INNER JOIN last_blocks
        ON said.source = last_blocks.source
        AND said.machine_name = last_blocks.machine_name
        AND said.user_name = last_blocks.user_name
    WHERE said.kind = 'response'
        AND said.date >= (SELECT toDate(min(start_time)) - 1 FROM last_blocks)
        AND said.started_at >= last_blocks.start_time
        AND said.started_at < last_blocks.end_time
    GROUP BY start_time, machine_name, user_name, project, model
)
SELECT
    start_time,
    project,
    model,
    responses,
    part_tokens AS tokens,
    part_cost AS cost,
    100 * part_tokens / greatest(1, sum(part_tokens) OVER (PARTITION BY start_time, machine_name, user_name)) AS percent_of_block
FROM contents
ORDER BY start_time DESC, machine_name, user_name, tokens DESC, project, model;

-- section: Tools

-- name: tool_use
-- Which tools are used, how often do they fail, and how long do they take?
-- shown: table "Tools in {days} days" in stats, page | tool, uses #, failed #, failed_percent %, refused? #, median_seconds? s, hours h
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today
SELECT
    tool,
    count() AS uses,
    countIf(state = 'error') AS failed,
    100 * failed / uses AS failed_percent,
    countIf(state IN ('user-rejected', 'cancelled', 'permission-rule')) AS refused,
    quantileExactInclusive(0.5)(duration_ms) / 1000 AS median_seconds,
    sum(duration_ms) / 3600000 AS hours
FROM ccusage_tool_calls FINAL
WHERE date > today - days
GROUP BY tool
ORDER BY uses DESC, tool;

-- name: cost_by_tool
-- What does each tool cost, by its share of the responses that asked for it, and what do answers without any?
-- shown: ranking "Cost by tool" in page | tool, cost $, percent %, uses #
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
-- what each use costs of its response, as in ccusage_fct_tool_calls: of responses since the day before, not of all time
asking AS
(
    SELECT message_id, cityHash64(source, machine_name, user_name) AS owner, cost / tool_uses AS its_cost
    FROM ccusage_fct_messages
    WHERE kind = 'response' AND tool_uses > 0 AND date > today - days - 1
),
per_tool AS
(
    SELECT tool, sum(its_cost) AS tool_cost, count() AS uses
    FROM ccusage_tool_calls FINAL
    LEFT ANY JOIN asking ON api_id = message_id AND cityHash64(source, machine_name, user_name) = owner
    WHERE date > today - days
    GROUP BY tool
    UNION ALL
    SELECT '', sum(cost), countIf(tool_uses = 0)
    FROM ccusage_fct_messages
    WHERE kind = 'response'
        AND date > today - days
        AND (machine_name, user_name) IN
        (
            SELECT machine_name, user_name
            FROM ccusage_messages FINAL
            WHERE kind = 'prompt' AND date >= toStartOfQuarter(today - days)
        )
),
with_the_rest AS
(
    SELECT
        if(tool = '', 'answers without a tool', tool) AS what,
        if(tool = '', 2 * tool_cost - sum(tool_cost) OVER (), tool_cost) AS what_cost,
        uses
    FROM per_tool
)
SELECT
    what AS tool,
    what_cost AS cost,
    if(sum(what_cost) OVER () = 0, 0, 100 * what_cost / sum(what_cost) OVER ()) AS percent,
    uses
FROM with_the_rest
WHERE uses > 0 OR what_cost > 0
QUALIFY count() OVER () > 1  -- where tools are not stored, all answers would seem to be without
ORDER BY cost DESC, tool;

-- name: error_kinds
-- At what do tools fail?
-- shown: table "Failures of tools" in page | tool, error_kind, errors #, percent_of_uses %, sessions? #
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
per_kind AS
(
    SELECT tool, state, error_kind, count() AS calls, uniqExact(session_id) AS sessions
    FROM ccusage_tool_calls FINAL
    WHERE date > today - days
    GROUP BY tool, state, error_kind
),
compared AS
(
    SELECT tool, state, error_kind, calls, sessions, sum(calls) OVER (PARTITION BY tool) AS uses
    FROM per_kind
)
SELECT
    tool,
    if(compared.error_kind = '', 'other', compared.error_kind) AS error_kind,
    calls AS errors,
    100 * calls / uses AS percent_of_uses,
    sessions
FROM compared
WHERE state = 'error'
ORDER BY errors DESC, tool, error_kind;

-- name: rejected_tools
-- Which tools are refused, by me or by a rule?
-- shown: table "Refused tools" in page | tool, uses #, by_me #, by_rule #, cancelled #, refused_percent %
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today
SELECT
    tool,
    count() AS uses,
    countIf(state = 'user-rejected') AS by_me,
    countIf(state = 'permission-rule') AS by_rule,
    countIf(state = 'cancelled') AS cancelled,
    100 * (by_me + by_rule + cancelled) / uses AS refused_percent
FROM ccusage_tool_calls FINAL
WHERE date > today - days
GROUP BY tool
HAVING by_me + by_rule + cancelled > 0
ORDER BY by_me + by_rule + cancelled DESC, tool;

-- name: commands_run
-- Which programs are run, how often do they fail, and how long do they take?
-- shown: table "Programs" in page | program, runs #, failed #, failed_percent %, median_seconds s, hours h
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today
SELECT
    program,
    count() AS runs,
    countIf(state = 'error') AS failed,
    100 * failed / runs AS failed_percent,
    quantileExactInclusive(0.5)(duration_ms) / 1000 AS median_seconds,
    sum(duration_ms) / 3600000 AS hours
FROM ccusage_tool_calls FINAL
WHERE program != '' AND date > today - days
GROUP BY program
ORDER BY runs DESC, program;

-- name: mcp_servers
-- Which MCP servers are used, and which are hardly worth their place in the context?
-- shown: table "MCP servers" in page | server, tools #, uses #, failed? #, sessions #, percent_of_sessions %, last_day day,
--     cost $
-- tunables: days 1..20000
WITH 90 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
-- what each use costs of its response, as in ccusage_fct_tool_calls: of responses since the day before, not of all time
asking AS
(
    SELECT message_id, cityHash64(source, machine_name, user_name) AS owner, cost / tool_uses AS its_cost
    FROM ccusage_fct_messages
    WHERE kind = 'response' AND tool_uses > 0 AND date > today - days - 1
)
SELECT
    splitByString('__', tool)[2] AS server,
    uniqExact(tool) AS tools,
    count() AS uses,
    countIf(state = 'error') AS failed,
    uniqExact(session_id) AS sessions,
    100 * sessions / (SELECT uniqExact(session_id) FROM ccusage_tool_calls FINAL WHERE date > today - days) AS percent_of_sessions,
    max(date) AS last_day,
    sum(its_cost) AS cost
FROM ccusage_tool_calls FINAL
LEFT ANY JOIN asking ON api_id = message_id AND cityHash64(source, machine_name, user_name) = owner
WHERE startsWith(tool, 'mcp') AND date > today - days
GROUP BY server
ORDER BY uses DESC, server;

-- section: Files

-- name: lines_by_language
-- In which languages are lines written and removed?
-- shown: ranking "Lines by language in {days} days" in stats, page | language, lines_added ~, lines_removed ~, files #, changes? #
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today
SELECT
    if(extension = '', 'none', extension) AS language,
    sum(tool_calls.lines_added) AS lines_added,
    sum(tool_calls.lines_removed) AS lines_removed,
    uniqExact(file_id) AS files,
    count() AS changes
FROM ccusage_tool_calls AS tool_calls FINAL
WHERE file_id != '' AND state = 'ok' AND tool_calls.lines_added + tool_calls.lines_removed > 0 AND date > today - days
GROUP BY language
ORDER BY lines_added DESC, lines_removed DESC, language;

-- name: cost_per_line
-- What does a line that was written or removed cost in each project?
-- shown: table "Cost per line" in page | project project, cost $, lines_added ~, lines_removed ~, cost_per_line $
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
costs AS
(
    SELECT project_id, sum(total_cost) AS project_cost
    FROM ccusage_usage_projects_daily FINAL
    WHERE date > today - days
        AND (machine_name, user_name) IN
        (
            SELECT machine_name, user_name
            FROM ccusage_messages FINAL
            WHERE kind = 'prompt' AND date >= toStartOfQuarter(today - days)
        )
    GROUP BY project_id
),
changed AS
(
    SELECT project_id, sum(lines_added) AS added, sum(lines_removed) AS removed
    FROM ccusage_tool_calls FINAL
    WHERE date > today - days
    GROUP BY project_id
    HAVING added + removed > 0
)
SELECT
    project_id AS project,
    project_cost AS cost,
    added AS lines_added,
    removed AS lines_removed,
    project_cost / (added + removed) AS cost_per_line
FROM changed
LEFT JOIN costs USING (project_id)
ORDER BY cost DESC, project;

-- name: hot_files
-- Which files are changed most?
-- shown: table "Files changed most" in page | file id, language?, project project, changes #, sessions? #, lines_added #,
--     lines_removed #, cost $
-- tunables: days 1..20000, top 1..1000000
WITH 30 AS days, 20 AS top, 'UTC' AS zone, toDate(now(zone)) AS today,
-- what each use costs of its response, as in ccusage_fct_tool_calls: of responses since the day before, not of all time
asking AS
(
    SELECT message_id, cityHash64(source, machine_name, user_name) AS owner, cost / tool_uses AS its_cost
    FROM ccusage_fct_messages
    WHERE kind = 'response' AND tool_uses > 0 AND date > today - days - 1
)
SELECT
    file_id AS file,
    any(extension) AS language,
    any(project_id) AS project,
    count() AS changes,
    uniqExact(session_id) AS sessions,
    sum(files.lines_added) AS lines_added,
    sum(files.lines_removed) AS lines_removed,
    sum(its_cost) AS cost
FROM ccusage_tool_calls AS files FINAL
LEFT ANY JOIN asking ON api_id = message_id AND cityHash64(source, machine_name, user_name) = owner
WHERE tool IN ('Edit', 'MultiEdit', 'Write', 'NotebookEdit') AND file_id != '' AND state = 'ok' AND date > today - days
GROUP BY file_id
ORDER BY changes DESC, lines_added DESC, file
LIMIT top;

-- name: reread_files
-- Which files are read again and again in one session?
-- shown: table "Files read again and again" in page | file id, language?, project project, reads #, sessions #,
--     reads_in_one_session #, lines_read ~
-- tunables: days 1..20000, at_least 2..1000, top 1..1000000
WITH 30 AS days, 3 AS at_least, 20 AS top, 'UTC' AS zone, toDate(now(zone)) AS today,
per_session AS
(
    SELECT
        file_id,
        session_id,
        any(extension) AS file_extension,
        any(project_id) AS file_project,
        count() AS session_reads,
        sum(lines_read) AS session_lines
    FROM ccusage_tool_calls FINAL
    WHERE tool = 'Read' AND state = 'ok' AND file_id != '' AND date > today - days
    GROUP BY file_id, session_id, agent_id
)
SELECT
    file_id AS file,
    any(file_extension) AS language,
    any(file_project) AS project,
    sum(session_reads) AS reads,
    uniqExact(session_id) AS sessions,
    max(session_reads) AS reads_in_one_session,
    sum(session_lines) AS lines_read
FROM per_session
GROUP BY file_id
HAVING reads_in_one_session >= at_least
ORDER BY reads_in_one_session DESC, reads DESC, file
LIMIT top;

-- name: one_shot_edits
-- How often is a file right at the first go: changed once in a session, without a failed try?
-- shown: table "Right at the first go" in page | model model, files #, at_first_go #, percent %, changes_per_file .
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
per_file AS
(
    SELECT model, session_id, file_id, countIf(state = 'ok') AS changes, countIf(state = 'error') AS failed
    FROM ccusage_tool_calls FINAL
    WHERE tool IN ('Edit', 'MultiEdit', 'Write', 'NotebookEdit') AND file_id != '' AND date > today - days
    GROUP BY model, session_id, file_id
    HAVING changes > 0
)
SELECT
    model,
    count() AS files,
    countIf(changes = 1 AND failed = 0) AS at_first_go,
    100 * at_first_go / files AS percent,
    avg(changes) AS changes_per_file
FROM per_file
GROUP BY model
ORDER BY files DESC, model;

-- name: rework
-- How many of the lines that were written are removed again a week or more later?
-- shown: table "Lines written and removed again later" in page | project project, files #, lines_added ~, removed_later ~,
--     percent_removed_later %
-- tunables: days 1..20000, days_later 1..3650
WITH 365 AS days, 7 AS days_later, 'UTC' AS zone, toDate(now(zone)) AS today,
changed AS
(
    SELECT file_id, project_id, date, lines_added, lines_removed
    FROM ccusage_tool_calls FINAL
    WHERE file_id != '' AND state = 'ok' AND lines_added + lines_removed > 0 AND date > today - days
),
moments AS
(
    SELECT file_id, date + days_later AS day, sum(lines_added) AS ripe, 0 AS removed
    FROM changed
    GROUP BY file_id, day
    UNION ALL
    SELECT file_id, date, 0, sum(lines_removed)
    FROM changed
    GROUP BY file_id, date
),
followed AS
(
    SELECT
        file_id,
        removed,
        sum(ripe) OVER (PARTITION BY file_id ORDER BY day, ripe = 0 ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS ripe_by_then
    FROM moments
),
reworked AS
(
    SELECT file_id, least(sumIf(removed, ripe_by_then > 0), maxIf(ripe_by_then, removed > 0)) AS removed_again
    FROM followed
    GROUP BY file_id
),
written AS
(
    SELECT file_id, any(project_id) AS project, sum(lines_added) AS added
    FROM changed
    GROUP BY file_id
)
SELECT
    written.project AS project,
    count() AS files,
    sum(added) AS lines_added,
    sum(removed_again) AS removed_later,
    if(lines_added = 0, NULL, 100 * removed_later / lines_added) AS percent_removed_later
FROM written
LEFT JOIN reworked USING (file_id)
GROUP BY project
ORDER BY lines_added DESC, project;

-- name: getting_worse
-- Do tools fail more, edits need more tries, or answers take longer, from version to version?
-- shown: table "From version to version" in page | version, first_day day, responses #, median_seconds s, tools #,
--     failed_percent %, right_at_first_go_percent %
-- tunables: days 1..20000
WITH 180 AS days, 'UTC' AS zone, toDate(now(zone)) AS today,
said AS
(
    SELECT
        version,
        min(date) AS first_day,
        count() AS responses,
        quantileExactInclusive(0.5)(waited_ms) / 1000 AS median_seconds
    FROM ccusage_messages FINAL
    WHERE kind = 'response' AND version != '' AND date > today - days
    GROUP BY version
),
versions AS
(
    SELECT
        session_id,
        source,
        machine_name,
        user_name,
        -- 2.0.14 comes after 2.0.9
        argMax(ccusage_messages.version, arrayMap(part -> toUInt32OrZero(part), splitByChar('.', ccusage_messages.version))) AS version
    FROM ccusage_messages FINAL
    WHERE ccusage_messages.version != '' AND date > today - days
    GROUP BY session_id, source, machine_name, user_name
),
used AS
(
    SELECT
        session_id,
        source,
        machine_name,
        user_name,
        if(tool IN ('Edit', 'MultiEdit', 'Write', 'NotebookEdit'), file_id, '') AS changed_file,
        count() AS calls,
        countIf(state = 'error') AS errors,
        countIf(state = 'ok') AS succeeded
    FROM ccusage_tool_calls FINAL
    WHERE date > today - days
    GROUP BY session_id, source, machine_name, user_name, changed_file
),
did AS
(
    SELECT
        version,
        sum(calls) AS tools,
        100 * sum(errors) / tools AS failed_percent,
        countIf(changed_file != '' AND succeeded > 0) AS files,
        if(files = 0, NULL, 100 * countIf(changed_file != '' AND succeeded = 1 AND errors = 0) / files) AS right_at_first_go_percent
    FROM used
    INNER JOIN versions USING (session_id, source, machine_name, user_name)
    GROUP BY version
)
SELECT version, first_day, responses, median_seconds, tools, failed_percent, right_at_first_go_percent
FROM said
LEFT JOIN did USING (version)
ORDER BY first_day, version;

-- section: Health

-- name: rows_by_machine
-- How many rows of each report does each machine and user have?
-- shown: table "Rows by machine" of its own period | machine_name, user_name, days #, months #, sessions #, blocks_without_gaps #,
--     project_days #
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
-- shown: table "Last imports by machine" of its own period in page | machine_name, user_name?, last_import time,
--     hours_ago #, is_stale yes, last_status, ccusage?, zone?
-- tunables: stale_after_hours 1..10000
WITH 24 AS stale_after_hours
SELECT
    machine_name,
    user_name,
    maxOrNullIf(import_timestamp, status != 'failed') AS last_import, -- none: nothing was ever stored
    age('hour', last_import, now('UTC')) AS hours_ago,
    ifNull(hours_ago >= stale_after_hours, true) AS is_stale,
    toString(argMax(status, (import_timestamp, created_at, import_id))) AS last_status,
    argMax(ccusage_version, (import_timestamp, created_at, import_id)) AS ccusage,
    argMax(timezone, (import_timestamp, created_at, import_id)) AS zone
FROM ccusage_import_history FINAL
GROUP BY machine_name, user_name
ORDER BY last_import NULLS FIRST, machine_name, user_name;

-- name: last_import
-- How old is the newest data, and of how many machines and users has none come for a day?
-- shown: figures "Last import" of its own period in glance 40 | last_import age, importers #, stale #
-- glance: imported | {last_import} | {stale} of {importers} machines not for a day
-- tunables: stale_after_hours 1..100000
WITH 24 AS stale_after_hours,
per_importer AS
(
    SELECT machine_name, user_name, max(import_timestamp) AS newest
    FROM ccusage_import_history FINAL
    WHERE status != 'failed'
    GROUP BY machine_name, user_name
)
SELECT
    max(newest) AS last_import,
    count() AS importers,
    nullIf(countIf(age('hour', newest, now('UTC')) >= stale_after_hours), 0) AS stale
FROM per_importer
HAVING importers > 0;

-- name: months_against_days
-- Does each stored month equal the days stored of it?
-- shown: table "Months against their days" of its own period | month, source, machine_name?, user_name?, month_cost? $, days_cost? $,
--     tokens_difference #, cost_difference +$, is_equal yes
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

-- name: days_missing
-- Between which days does a machine and user have nothing, be it days off or days never imported?
-- shown: table "Days without usage" | machine_name, user_name?, first_missing day, last_missing day,
--     days_without_usage #
-- tunables: at_least 1..20000
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
-- shown: table "Imports that failed" in page | import_timestamp time, machine_name, user_name?, import_status,
--     error, ccusage_version?
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today
SELECT
    import_timestamp,
    machine_name,
    user_name,
    toString(status) AS import_status,
    error,
    ccusage_version
FROM ccusage_import_history FINAL
WHERE import_timestamp >= toDateTime(today - days + 1, zone) AND status != 'completed'
ORDER BY import_timestamp DESC, machine_name, user_name, import_id;

-- name: rows_kept
-- How many rows hold more than ccusage still tells, because the logs behind them are gone?
-- shown: table "Rows that hold more than ccusage still tells" of its own period in page | machine_name, user_name?, report,
--     rows_kept #, last_import time
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

-- name: rows_covered
-- What do the stored rows rest on: on messages that say the same, on messages alone, or on ccusage's word?
-- shown: table "What rows rest on" of its own period in stats, page | report, rows #, same_as_messages #,
--     derived_from_messages #, word_of_ccusage #, lowered_by_hand? #
SELECT
    report,
    count() AS rows,
    countIf(rests_on = 'messages') AS same_as_messages,
    countIf(rests_on = 'derived') AS derived_from_messages,
    countIf(rests_on = 'ccusage') AS word_of_ccusage,
    countIf(rests_on = 'lowered') AS lowered_by_hand
FROM
(
    SELECT 1 AS position, 'daily' AS report, coverage AS rests_on FROM ccusage_usage_daily FINAL
    UNION ALL
    SELECT 2, 'monthly', coverage FROM ccusage_usage_monthly FINAL
    UNION ALL
    SELECT 3, 'session', coverage FROM ccusage_usage_sessions FINAL
    UNION ALL
    SELECT 4, 'blocks', coverage FROM ccusage_usage_blocks FINAL WHERE is_gap = 0
    UNION ALL
    SELECT 5, 'projects', coverage FROM ccusage_usage_projects_daily FINAL
)
GROUP BY position, report
ORDER BY position;

-- name: import_durations
-- How long do imports take on each machine?
-- shown: table "Seconds that imports take" | machine_name, user_name?, imports #, average_seconds s,
--     median_seconds s, slow_seconds s, longest_seconds s
-- tunables: days 1..20000
WITH 30 AS days, 'UTC' AS zone, toDate(now(zone)) AS today
SELECT
    machine_name,
    user_name,
    count() AS imports,
    avg(duration_seconds) AS average_seconds,
    quantileExactInclusive(0.5)(duration_seconds) AS median_seconds,
    quantileExact(0.95)(duration_seconds) AS slow_seconds,
    max(duration_seconds) AS longest_seconds
FROM ccusage_import_history FINAL
WHERE import_timestamp >= toDateTime(today - days + 1, zone)
GROUP BY machine_name, user_name
ORDER BY average_seconds DESC, machine_name, user_name;

-- name: last_imports
-- What did the last imports change?
-- shown: table "Last imports" of its own period | import_timestamp time, machine_name?, user_name?, import_status, new_rows #,
--     changed_rows #, unchanged_rows? #, kept_rows #, seconds s, ccusage_version?
-- tunables: top 1..1000000
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

-- name: prometheus
-- What does --metrics-file tell of what is stored, in the columns of the engine's FORMAT Prometheus?
-- shown: table "Metrics" | name, type?, help?, labels, value .
WITH 'UTC' AS zone, toDate(now(zone)) AS today,
spent AS
(
    SELECT
        map('machine', toString(machine_name), 'user', toString(user_name), 'source', toString(source)) AS whose,
        arrayJoin(if(date = today, ['month', 'today'], ['month'])) AS period,
        round(sum(total_cost), 9) AS cost,
        sum(total_tokens) AS tokens
    FROM ccusage_usage_daily FINAL
    WHERE date BETWEEN toStartOfMonth(today) AND today
    GROUP BY whose, period
),
active AS
(
    SELECT
        map('machine', toString(machine_name), 'user', toString(user_name), 'source', toString(source)) AS whose,
        round(sum(cost_usd), 9) AS cost,
        sum(ifNull(burn_rate, 0)) AS dollars_an_hour
    FROM ccusage_usage_blocks FINAL
    WHERE is_active = 1 AND is_gap = 0 AND end_time > now('UTC')
    GROUP BY whose
)
SELECT metric.1 AS name, 'gauge' AS type, metric.2 AS help, labels, metric.3 AS value
FROM
(
    SELECT
        mapConcat(whose, map('period', period)) AS labels,
        arrayJoin(
            [
                ('ccusage_cost_usd', 'Cost in US dollars, today and this month.', cost),
                ('ccusage_tokens', 'Tokens, today and this month.', toFloat64(tokens))
            ]
        ) AS metric
    FROM spent
    UNION ALL
    SELECT
        whose,
        arrayJoin(
            [
                ('ccusage_active_block_cost_usd', 'Cost of the active billing block in US dollars.', cost),
                ('ccusage_active_block_burn_rate_usd_per_hour', 'US dollars an hour, active block.', dollars_an_hour)
            ]
        )
    FROM active
)
ORDER BY name, labels;

-- name: database_size
-- How large is the database, and each table in it (of a team's: in those of its people, as far as it may be seen)?
-- shown: table "Size of the database" of its own period | table, rows #, size B, percent %, bytes_per_row? .
WITH (SELECT count() FROM system.tables WHERE database = currentDatabase() AND engine = 'Merge') AS merged,
kept AS
(
    SELECT name, sum(total_rows) AS table_rows, sum(total_bytes) AS bytes
    FROM system.tables
    WHERE startsWith(name, 'ccusage_')
        AND engine LIKE '%MergeTree'
        AND (database = currentDatabase() OR (merged > 0 AND startsWith(database, concat(currentDatabase(), '_'))))
    GROUP BY name
)
SELECT
    if(grouping(name) = 0, name, 'all') AS table,
    sum(table_rows) AS rows,
    sum(bytes) AS size,
    if((SELECT sum(bytes) FROM kept) = 0, 0, 100 * size / (SELECT sum(bytes) FROM kept)) AS percent,
    if(rows = 0, NULL, size / rows) AS bytes_per_row
FROM kept
GROUP BY name WITH ROLLUP
ORDER BY size DESC, grouping(name) DESC, table;

-- name: database_growth
-- How does the database grow: what came in each month, and about how many bytes of today's are that?
-- shown: table "Growth of the database" of its own period | month, imports #, importers? #, new_rows #, changed_rows? #,
--     messages_and_tools ~, about_size B, about_size_by_then B
WITH (SELECT count() FROM system.tables WHERE database = currentDatabase() AND engine = 'Merge') AS merged,
(
    SELECT sum(total_bytes)
    FROM system.tables
    WHERE startsWith(name, 'ccusage_')
        AND engine LIKE '%MergeTree'
        AND (database = currentDatabase() OR (merged > 0 AND startsWith(database, concat(currentDatabase(), '_'))))
) AS bytes,
per_month AS
(
    SELECT
        formatDateTime(import_timestamp, '%Y-%m') AS month,
        count() AS imports,
        uniqExact(machine_name, user_name) AS importers,
        sum(arraySum(mapValues(rows_new))) AS new_rows,
        sum(arraySum(mapValues(rows_changed))) AS changed_rows,
        sum(messages + tool_calls) AS messages_and_tools
    FROM ccusage_import_history FINAL
    GROUP BY month
),
shared AS
(
    SELECT
        *,
        new_rows + messages_and_tools AS came,
        sum(came) OVER () AS came_in_all,
        sum(came) OVER (ORDER BY month) AS came_by_then
    FROM per_month
)
SELECT
    month,
    imports,
    importers,
    new_rows,
    changed_rows,
    messages_and_tools,
    if(came_in_all = 0, 0, bytes * came / came_in_all) AS about_size,
    if(came_in_all = 0, 0, bytes * came_by_then / came_in_all) AS about_size_by_then
FROM shared
ORDER BY month DESC;

-- name: slow_queries
-- Which statements on this database were slow lately, how often, and for whom (where system.query_log may be read)?
-- shown: table "Slow queries" of its own period | seconds s, median_seconds? s, runs #, users?, rows_read ~, memory B,
--     last_run time, statement words
-- tunables: last_days 1..20000, slower_than 0..1000000, top 1..1000000
WITH 7 AS last_days, 1.0 AS slower_than, 20 AS top,
-- merge() gives what there is and may be read; the history of imports is always there, else it would have no columns.
-- Without the log its columns are these constants.
logged AS
(
    WITH
        toString('') AS type,
        toDate(0) AS event_date,
        toDateTime(0, 'UTC') AS event_time,
        toUInt64(0) AS query_duration_ms,
        toUInt64(0) AS read_rows,
        toUInt64(0) AS memory_usage,
        toUInt64(0) AS normalized_query_hash,
        toString('') AS query,
        toString('') AS user,
        emptyArrayString() AS databases
    SELECT
        toDateTime(event_time, 'UTC') AS moment,
        query_duration_ms / 1000 AS took,
        toUInt64(read_rows) AS its_rows,
        toUInt64(memory_usage) AS its_memory,
        toUInt64(normalized_query_hash) AS hash,
        toString(query) AS text,
        toString(user) AS who
    FROM merge(REGEXP('.'), '^(query_log|ccusage_import_history)$')
    WHERE _database = 'system'
        AND _table = 'query_log'
        AND toString(type) = 'QueryFinish'
        AND toDate(event_date) > today() - last_days
        AND took >= slower_than
        AND arrayExists(
            name -> name = currentDatabase() OR startsWith(name, concat(currentDatabase(), '_')),
            CAST(databases, 'Array(String)')
        )
    SETTINGS prefer_column_name_to_alias = 1
)
SELECT
    max(took) AS seconds,
    quantileExactInclusive(0.5)(took) AS median_seconds,
    count() AS runs,
    arrayStringConcat(arraySort(groupUniqArray(5)(who)), ', ') AS users,
    max(its_rows) AS rows_read,
    max(its_memory) AS memory,
    max(moment) AS last_run,
    substringUTF8(replaceRegexpAll(normalizeQuery(any(text)), '\\s+', ' '), 1, 200) AS statement
FROM logged
GROUP BY hash
ORDER BY seconds DESC, statement
LIMIT top;

-- name: data_dictionary
-- What is stored: every table and view, every column, and what it means?
-- shown: table "What is stored" of its own period | table, column, type?, meaning words
WITH columns AS
(
    SELECT table, name, type, comment, position
    FROM system.columns
    WHERE database = currentDatabase() AND startsWith(table, 'ccusage_')
),
meanings AS
(
    SELECT name, argMax(comment, length(comment)) AS meaning_in_tables
    FROM columns
    GROUP BY name
)
SELECT
    table,
    name AS column,
    type,
    multiIf(comment != '', comment, meaning_in_tables != '', meaning_in_tables, replaceAll(name, '_', ' ')) AS meaning
FROM columns
LEFT JOIN meanings USING (name)
ORDER BY table, position;

-- section: Expectations

-- Each of these queries tells what should not be: --check runs all of this section, and where one has rows, something is
-- wrong. Another expectation is another query here.

-- name: months_below_days
-- Which months are less than the days stored of them?
-- shown: table "Months that are less than their days" of its own period | month, agent, machine_name, user_name, month_tokens ~, days_tokens ~,
--     month_cost $, days_cost $
WITH both AS
(
    SELECT month, source, machine_name, user_name, total_tokens, total_cost, 0 AS day_tokens, 0. AS day_cost
    FROM ccusage_usage_monthly FINAL
    UNION ALL
    SELECT formatDateTime(date, '%Y-%m'), source, machine_name, user_name, 0, 0., total_tokens, total_cost
    FROM ccusage_usage_daily FINAL
)
SELECT
    month,
    source AS agent,
    machine_name,
    user_name,
    sum(total_tokens) AS month_tokens,
    sum(day_tokens) AS days_tokens,
    sum(total_cost) AS month_cost,
    sum(day_cost) AS days_cost
FROM both
GROUP BY month, source, machine_name, user_name
HAVING month_tokens < days_tokens OR month_cost < days_cost - 0.00001
ORDER BY month DESC, agent, machine_name, user_name;

-- name: days_against_models
-- On which days do the models cost something else than the day?
-- shown: table "Days against their models" | date day, agent, machine_name, user_name, day_cost $, models_cost $
WITH both AS
(
    SELECT date, source, machine_name, user_name, total_cost, 0. AS model_cost, 0 AS models
    FROM ccusage_usage_daily FINAL
    UNION ALL
    SELECT toDateOrZero(record_key), source, machine_name, user_name, 0., cost, 1
    FROM ccusage_model_breakdowns FINAL
    WHERE record_type = 'daily'
)
SELECT
    date,
    source AS agent,
    machine_name,
    user_name,
    sum(total_cost) AS day_cost,
    sum(model_cost) AS models_cost
FROM both
GROUP BY date, source, machine_name, user_name
HAVING sum(models) > 0 AND abs(day_cost - models_cost) >= 0.00001
ORDER BY date DESC, agent, machine_name, user_name;

-- name: days_against_projects
-- On which days do the projects, where the agent tells them, not add up to the day?
-- shown: table "Days against their projects" | date day, agent, machine_name?, user_name?, tokens_difference #,
--     cost_difference +$
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

-- name: orphaned_models
-- Which models belong to a day, month, session or project's day that is not stored?
-- shown: table "Models without their record" of its own period | record_type, record_key id, agent, machine_name, user_name, models #
WITH records AS
(
    SELECT 'daily' AS kind, toString(date) AS record_key, source, machine_name, user_name
    FROM ccusage_usage_daily FINAL
    UNION ALL
    SELECT 'monthly', month, source, machine_name, user_name
    FROM ccusage_usage_monthly FINAL
    UNION ALL
    SELECT 'session', session_id, source, machine_name, user_name
    FROM ccusage_usage_sessions FINAL
    UNION ALL
    SELECT 'project_daily', concat(toString(date), '/', project_id), source, machine_name, user_name
    FROM ccusage_usage_projects_daily FINAL
),
models AS
(
    SELECT toString(ccusage_model_breakdowns.record_type) AS kind, record_key, source, machine_name, user_name
    FROM ccusage_model_breakdowns FINAL
    WHERE ccusage_model_breakdowns.record_type != 'block'
)
SELECT
    kind AS record_type,
    record_key,
    source AS agent,
    machine_name,
    user_name,
    count() AS models
FROM models
-- of millions of records a set of hashes takes half the time of a join
WHERE cityHash64(kind, record_key, source, machine_name, user_name) NOT IN
(
    SELECT cityHash64(kind, record_key, source, machine_name, user_name)
    FROM records
)
GROUP BY kind, record_key, source, machine_name, user_name
ORDER BY record_type, record_key, agent, machine_name, user_name;

-- name: orphaned_tool_calls
-- Which tools were asked for by a response that is not stored?
-- shown: table "Tools without their response" of its own period | session_id id, machine_name, user_name, tools #
WITH answered AS
(
    SELECT cityHash64(bitShiftRight(message_id, 24), source, machine_name, user_name)
    FROM ccusage_messages FINAL
    WHERE kind = 'response'
)
SELECT session_id, machine_name, user_name, count() AS tools
FROM ccusage_tool_calls FINAL
WHERE api_id != 0 AND cityHash64(bitShiftRight(api_id, 24), source, machine_name, user_name) NOT IN (SELECT * FROM answered)
GROUP BY session_id, source, machine_name, user_name
ORDER BY tools DESC, session_id, machine_name, user_name;

-- name: overlapping_blocks
-- Which billing blocks begin before the one before has ended?
-- shown: table "Billing blocks that overlap" | start_time time, agent, machine_name, user_name, ended_before time
WITH followed AS
(
    SELECT
        start_time,
        source,
        machine_name,
        user_name,
        max(end_time) OVER (
            PARTITION BY source, machine_name, user_name
            ORDER BY start_time, block_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS ended_before
    FROM ccusage_usage_blocks FINAL
    WHERE is_gap = 0
)
SELECT start_time, source AS agent, machine_name, user_name, ended_before
FROM followed
WHERE ended_before > start_time
ORDER BY start_time DESC, agent, machine_name, user_name;

-- name: future_days
-- Which rows are of days that nowhere on earth have begun?
-- shown: table "Rows of days to come" | table, day day, rows #
WITH toDate(now('UTC') + INTERVAL 14 HOUR) AS latest
SELECT table, day, count() AS rows
FROM
(
    SELECT 'ccusage_usage_daily' AS table, date AS day
    FROM ccusage_usage_daily FINAL
    WHERE date > latest
    UNION ALL
    SELECT 'ccusage_usage_projects_daily', date
    FROM ccusage_usage_projects_daily FINAL
    WHERE date > latest
    UNION ALL
    SELECT 'ccusage_usage_sessions', toDate(last_activity)
    FROM ccusage_usage_sessions FINAL
    WHERE toDate(last_activity) > latest
    UNION ALL
    SELECT 'ccusage_messages', date
    FROM ccusage_messages FINAL
    WHERE date > latest
)
GROUP BY table, day
ORDER BY day DESC, table;

-- name: days_lost
-- Between which imports lie days whose logs were deleted before anybody read them?
-- shown: table "Days that no import has seen" of its own period | machine_name, user_name, import_before time,
--     import_after time, days_lost #
-- tunables: days 1..20000, days_kept 1..20000
WITH 90 AS days, 30 AS days_kept, 'UTC' AS zone, toDate(now(zone)) AS today,
imports AS
(
    SELECT
        machine_name,
        user_name,
        import_timestamp,
        lagInFrame(import_timestamp, 1, import_timestamp) OVER (
            PARTITION BY machine_name, user_name
            ORDER BY import_timestamp
            ROWS BETWEEN 1 PRECEDING AND CURRENT ROW
        ) AS before
    FROM ccusage_import_history FINAL
    WHERE status != 'failed'
)
SELECT
    machine_name,
    user_name,
    before AS import_before,
    import_timestamp AS import_after,
    dateDiff('day', before, import_timestamp) - days_kept AS days_lost
FROM imports
WHERE dateDiff('day', before, import_timestamp) > days_kept AND import_timestamp > today - days
ORDER BY import_after DESC, machine_name, user_name;

-- name: conversations_against_ccusage
-- Where do the responses that were read from the logs not add up to what ccusage says of the same days?
-- shown: table "Conversations against ccusage" | date day, project? project, model model, agent?, machine_name?, user_name?,
--     ccusage_tokens ~, conversation_tokens ~, difference +
-- tunables: days_kept 1..20000
WITH 'UTC' AS zone, 30 AS days_kept,
forgotten AS
(
    SELECT machine_name, user_name, max(before) AS first_kept
    FROM ccusage_forgotten FINAL
    WHERE what = 'messages'
    GROUP BY machine_name, user_name
),
read AS
(
    SELECT
        source,
        machine_name,
        user_name,
        greatest(toDate(min(read_at), zone) - days_kept + 1, any(first_kept)) AS first_day,
        toDate(max(read_at), zone) AS last_day
    FROM ccusage_log_files FINAL
    LEFT JOIN forgotten USING (machine_name, user_name)
    GROUP BY source, machine_name, user_name
),
told AS
(
    SELECT source, machine_name, user_name, toDateOrZero(record_key) AS date, '' AS project, model_name AS model, total_tokens AS stored, 0 AS said
    FROM ccusage_model_breakdowns FINAL
    WHERE record_type = 'daily'
    UNION ALL
    SELECT source, machine_name, user_name, toDateOrZero(left(record_key, 10)), substring(record_key, 12), model_name, total_tokens, 0
    FROM ccusage_model_breakdowns FINAL
    WHERE record_type = 'project_daily'
    UNION ALL
    SELECT source, machine_name, user_name, date, arrayJoin(['', project_id]), model, 0, total_tokens
    FROM ccusage_fct_messages
    WHERE kind = 'response' AND model NOT IN ('', '<synthetic>')
),
compared AS
(
    SELECT
        source,
        machine_name,
        user_name,
        date,
        project,
        model,
        sum(stored) AS ccusage_tokens,
        sum(said) AS conversation_tokens,
        max(project != '' AND ccusage_tokens > 0) OVER (PARTITION BY source, machine_name, user_name, date) AS has_projects
    FROM told
    GROUP BY source, machine_name, user_name, date, project, model
)
SELECT
    date,
    project,
    model,
    source AS agent,
    machine_name,
    user_name,
    ccusage_tokens,
    conversation_tokens,
    toInt64(conversation_tokens) - toInt64(ccusage_tokens) AS difference
FROM compared
INNER JOIN read USING (source, machine_name, user_name)
WHERE difference != 0
    AND date < last_day
    AND (difference > 0 OR date >= first_day)
    AND (project = '' OR has_projects)
ORDER BY date DESC, project, model, agent, machine_name, user_name;
