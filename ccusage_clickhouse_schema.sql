-- Tables and views of ccusage-importer: the one definition of what is stored.
--
-- Applied by the first import, safe to apply again. Names are without a database: run it in the one you
-- want (the importer uses CH_DATABASE, 'ccusage' by default). Needs ClickHouse 25.8 or newer.
--
-- Whose row it is, machine_name and user_name say together. Read tables with FINAL: a replaced row may
-- still be there until parts merge. The two block columns settings let a DELETE write a small patch
-- instead of rewriting every part (8 ms where the classic one took 0.5 to 1.8 s).

-- one row per day, source, machine and user
CREATE TABLE IF NOT EXISTS ccusage_usage_daily
(
    date                  Date                   COMMENT 'day in the machine''s fixed time zone',
    source                LowCardinality(String) COMMENT 'agent: claude, codex, opencode, ...',
    machine_name          LowCardinality(String) COMMENT 'machine that imported the row',
    user_name             LowCardinality(String) COMMENT 'user whose logs the row comes from',
    input_tokens          UInt64                 COMMENT 'tokens sent, cache aside',
    output_tokens         UInt64                 COMMENT 'tokens received',
    cache_creation_tokens UInt64                 COMMENT 'tokens written to the prompt cache',
    cache_read_tokens     UInt64                 COMMENT 'tokens read from the prompt cache',
    total_tokens          UInt64                 COMMENT 'tokens in all, as ccusage says (some agents count reasoning tokens beside the four)',
    total_cost            Float64                COMMENT 'US dollars, rounded to 1e-9',
    models_count          UInt16                 COMMENT 'distinct models',
    raw_data              String                 COMMENT 'the row''s JSON as ccusage gave it, project names made private' CODEC(ZSTD(3)),
    content_hash          UInt64                 COMMENT 'hash over the row and its child rows, to see whether it changed',
    created_at            DateTime('UTC')        COMMENT 'first import of the row, UTC',
    updated_at            DateTime('UTC')        COMMENT 'last change of the row, UTC; the version that wins'
)
ENGINE = ReplacingMergeTree(updated_at)
PARTITION BY toYYYYMM(date)
ORDER BY (date, source, machine_name, user_name)
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1
COMMENT 'ccusage daily';

-- one row per month, source, machine and user; never less than its days
CREATE TABLE IF NOT EXISTS ccusage_usage_monthly
(
    month                 String                 COMMENT 'YYYY-MM',
    year                  UInt16                 COMMENT 'calendar year',
    month_num             UInt8                  COMMENT '1 to 12',
    source                LowCardinality(String) COMMENT 'agent: claude, codex, opencode, ...',
    machine_name          LowCardinality(String) COMMENT 'machine that imported the row',
    user_name             LowCardinality(String) COMMENT 'user whose logs the row comes from',
    input_tokens          UInt64                 COMMENT 'tokens sent, cache aside',
    output_tokens         UInt64                 COMMENT 'tokens received',
    cache_creation_tokens UInt64                 COMMENT 'tokens written to the prompt cache',
    cache_read_tokens     UInt64                 COMMENT 'tokens read from the prompt cache',
    total_tokens          UInt64                 COMMENT 'tokens in all, as ccusage says (some agents count reasoning tokens beside the four)',
    total_cost            Float64                COMMENT 'US dollars, rounded to 1e-9',
    models_count          UInt16                 COMMENT 'distinct models',
    raw_data              String                 COMMENT 'the row''s JSON as ccusage gave it, project names made private' CODEC(ZSTD(3)),
    content_hash          UInt64                 COMMENT 'hash over the row and its child rows, to see whether it changed',
    created_at            DateTime('UTC')        COMMENT 'first import of the row, UTC',
    updated_at            DateTime('UTC')        COMMENT 'last change of the row, UTC; the version that wins'
)
ENGINE = ReplacingMergeTree(updated_at)
PARTITION BY year
ORDER BY (year, month_num, source, machine_name, user_name)
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1
COMMENT 'ccusage monthly';

-- one row per session, source, machine and user
CREATE TABLE IF NOT EXISTS ccusage_usage_sessions
(
    session_id            String                    COMMENT 'the agent''s id; for a session known only as its project (ccusage 15 to 18) the project''s id',
    project_path          String                    COMMENT 'private id of the project, or its path; empty where the agent tells none',
    source                LowCardinality(String)    COMMENT 'agent: claude, codex, opencode, ...',
    machine_name          LowCardinality(String)    COMMENT 'machine that imported the row',
    user_name             LowCardinality(String)    COMMENT 'user whose logs the row comes from',
    first_activity        Nullable(DateTime('UTC')) COMMENT 'first message, UTC; NULL where ccusage tells none',
    last_activity         DateTime('UTC')           COMMENT 'last message, UTC; midnight of the day with ccusage 15 to 18, 1970 where unknown',
    input_tokens          UInt64                    COMMENT 'tokens sent, cache aside',
    output_tokens         UInt64                    COMMENT 'tokens received',
    cache_creation_tokens UInt64                    COMMENT 'tokens written to the prompt cache',
    cache_read_tokens     UInt64                    COMMENT 'tokens read from the prompt cache',
    total_tokens          UInt64                    COMMENT 'tokens in all, as ccusage says (some agents count reasoning tokens beside the four)',
    total_cost            Float64                   COMMENT 'US dollars, rounded to 1e-9',
    models_count          UInt16                    COMMENT 'distinct models',
    raw_data              String                    COMMENT 'the row''s JSON as ccusage gave it, project names made private' CODEC(ZSTD(3)),
    content_hash          UInt64                    COMMENT 'hash over the row and its child rows, to see whether it changed',
    created_at            DateTime('UTC')           COMMENT 'first import of the row, UTC',
    updated_at            DateTime('UTC')           COMMENT 'last change of the row, UTC; the version that wins'
)
ENGINE = ReplacingMergeTree(updated_at)
PARTITION BY toYYYYMM(last_activity)
ORDER BY (session_id, source, machine_name, user_name)
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1
COMMENT 'ccusage session';

-- one row per 5-hour billing block or gap, source, machine and user; blocks never overlap
CREATE TABLE IF NOT EXISTS ccusage_usage_blocks
(
    block_id               String                    COMMENT 'ccusage''s id: the start, with gap- before it for a gap',
    start_time             DateTime('UTC')           COMMENT 'start of the block, UTC',
    end_time               DateTime('UTC')           COMMENT 'end of the block, UTC',
    actual_end_time        Nullable(DateTime('UTC')) COMMENT 'last message, UTC; NULL for a gap',
    is_active              UInt8                     COMMENT '1 while the block was running at its import',
    is_gap                 UInt8                     COMMENT '1 for a pause between blocks',
    entries                UInt32                    COMMENT 'messages',
    source                 LowCardinality(String)    COMMENT 'agent: claude, codex, opencode, ...',
    machine_name           LowCardinality(String)    COMMENT 'machine that imported the row',
    user_name              LowCardinality(String)    COMMENT 'user whose logs the row comes from',
    input_tokens           UInt64                    COMMENT 'tokens sent, cache aside',
    output_tokens          UInt64                    COMMENT 'tokens received',
    cache_creation_tokens  UInt64                    COMMENT 'tokens written to the prompt cache',
    cache_read_tokens      UInt64                    COMMENT 'tokens read from the prompt cache',
    total_tokens           UInt64                    COMMENT 'tokens in all, as ccusage says (some agents count reasoning tokens beside the four)',
    cost_usd               Float64                   COMMENT 'US dollars, rounded to 1e-9',
    models_count           UInt16                    COMMENT 'distinct models',
    usage_limit_reset_time Nullable(DateTime('UTC')) COMMENT 'when the usage limit resets, UTC',
    burn_rate              Nullable(Float64)         COMMENT 'US dollars an hour, active block only',
    `projection`           Nullable(Float64)         COMMENT 'US dollars at the block''s end, active block only',
    raw_data               String                    COMMENT 'the row''s JSON as ccusage gave it, project names made private' CODEC(ZSTD(3)),
    content_hash           UInt64                    COMMENT 'hash over the row and its child rows, to see whether it changed',
    created_at             DateTime('UTC')           COMMENT 'first import of the row, UTC',
    updated_at             DateTime('UTC')           COMMENT 'last change of the row, UTC; the version that wins'
)
ENGINE = ReplacingMergeTree(updated_at)
PARTITION BY toYYYYMM(start_time)
ORDER BY (start_time, source, machine_name, user_name, block_id)
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1
COMMENT 'ccusage blocks';

-- one row per day, project, source, machine and user
CREATE TABLE IF NOT EXISTS ccusage_usage_projects_daily
(
    date                  Date                   COMMENT 'day in the machine''s fixed time zone',
    project_id            String                 COMMENT 'private id of the project, or its path',
    source                LowCardinality(String) COMMENT 'agent: claude, codex, opencode, ...',
    machine_name          LowCardinality(String) COMMENT 'machine that imported the row',
    user_name             LowCardinality(String) COMMENT 'user whose logs the row comes from',
    input_tokens          UInt64                 COMMENT 'tokens sent, cache aside',
    output_tokens         UInt64                 COMMENT 'tokens received',
    cache_creation_tokens UInt64                 COMMENT 'tokens written to the prompt cache',
    cache_read_tokens     UInt64                 COMMENT 'tokens read from the prompt cache',
    total_tokens          UInt64                 COMMENT 'tokens in all, as ccusage says (some agents count reasoning tokens beside the four)',
    total_cost            Float64                COMMENT 'US dollars, rounded to 1e-9',
    models_count          UInt16                 COMMENT 'distinct models',
    raw_data              String                 COMMENT 'the row''s JSON as ccusage gave it, project names made private' CODEC(ZSTD(3)),
    content_hash          UInt64                 COMMENT 'hash over the row and its child rows, to see whether it changed',
    created_at            DateTime('UTC')        COMMENT 'first import of the row, UTC',
    updated_at            DateTime('UTC')        COMMENT 'last change of the row, UTC; the version that wins'
)
ENGINE = ReplacingMergeTree(updated_at)
PARTITION BY toYYYYMM(date)
ORDER BY (date, source, machine_name, user_name, project_id)
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1
COMMENT 'ccusage daily --instances';

-- one row per record and model
CREATE TABLE IF NOT EXISTS ccusage_model_breakdowns
(
    record_type           Enum8('daily' = 1, 'monthly' = 2, 'session' = 3, 'block' = 4, 'project_daily' = 5) COMMENT 'table of the record',
    source                LowCardinality(String)                                                             COMMENT 'agent: claude, codex, opencode, ...',
    machine_name          LowCardinality(String)                                                             COMMENT 'machine that imported the row',
    user_name             LowCardinality(String)                                                             COMMENT 'user whose logs the row comes from',
    record_key            String                                                                             COMMENT 'date, month, session id, block id, or date/project_id',
    model_name            LowCardinality(String)                                                             COMMENT 'model',
    input_tokens          UInt64                                                                             COMMENT 'tokens sent, cache aside',
    output_tokens         UInt64                                                                             COMMENT 'tokens received',
    cache_creation_tokens UInt64                                                                             COMMENT 'tokens written to the prompt cache',
    cache_read_tokens     UInt64                                                                             COMMENT 'tokens read from the prompt cache',
    total_tokens          UInt64                                                                             COMMENT 'tokens in all, as ccusage says (some agents count reasoning tokens beside the four)',
    cost                  Float64                                                                            COMMENT 'US dollars, rounded to 1e-9',
    created_at            DateTime('UTC')                                                                    COMMENT 'first import of the row, UTC',
    updated_at            DateTime('UTC')                                                                    COMMENT 'last change of the row, UTC; the version that wins'
)
ENGINE = ReplacingMergeTree(updated_at)
PARTITION BY record_type
ORDER BY (record_type, source, machine_name, user_name, record_key, model_name)
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1
COMMENT 'tokens and cost of each model in each record (ccusage tells none for blocks)';

-- one row per record and model
CREATE TABLE IF NOT EXISTS ccusage_models_used
(
    record_type  Enum8('daily' = 1, 'monthly' = 2, 'session' = 3, 'block' = 4, 'project_daily' = 5) COMMENT 'table of the record',
    source       LowCardinality(String)                                                             COMMENT 'agent: claude, codex, opencode, ...',
    machine_name LowCardinality(String)                                                             COMMENT 'machine that imported the row',
    user_name    LowCardinality(String)                                                             COMMENT 'user whose logs the row comes from',
    record_key   String                                                                             COMMENT 'date, month, session id, block id, or date/project_id',
    model_name   LowCardinality(String)                                                             COMMENT 'model',
    created_at   DateTime('UTC')                                                                    COMMENT 'first import of the row, UTC',
    updated_at   DateTime('UTC')                                                                    COMMENT 'last change of the row, UTC; the version that wins'
)
ENGINE = ReplacingMergeTree(updated_at)
PARTITION BY record_type
ORDER BY (record_type, source, machine_name, user_name, record_key, model_name)
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1
COMMENT 'models of each record';

-- one row per import run
CREATE TABLE IF NOT EXISTS ccusage_import_history
(
    import_id        String                                              COMMENT 'random id of the run',
    import_timestamp DateTime('UTC')                                     COMMENT 'start of the run, UTC',
    machine_name     LowCardinality(String)                              COMMENT 'machine that imported',
    user_name        LowCardinality(String)                              COMMENT 'user whose logs were imported',
    duration_seconds Float64                                             COMMENT 'seconds from start to end',
    status           Enum8('completed' = 1, 'partial' = 2, 'failed' = 3) COMMENT 'partial: some reports failed, the others are stored',
    importer_version LowCardinality(String)                              COMMENT 'version of ccusage-importer',
    ccusage_version  LowCardinality(String)                              COMMENT 'version of ccusage; empty where it did not start',
    timezone         LowCardinality(String)                              COMMENT 'IANA zone by which days are cut, fixed at the first import',
    privacy          LowCardinality(String)                              COMMENT 'how project names are stored: plain, sha256, or hmac and the key''s fingerprint',
    rows_new         Map(LowCardinality(String), UInt64)                 COMMENT 'rows inserted, by report',
    rows_changed     Map(LowCardinality(String), UInt64)                 COMMENT 'rows replaced, by report',
    rows_unchanged   Map(LowCardinality(String), UInt64)                 COMMENT 'rows left alone, by report',
    rows_kept        Map(LowCardinality(String), UInt64)                 COMMENT 'rows kept although ccusage said less, by report',
    data_hash        UInt64                                              COMMENT 'hash over all fetched rows',
    statistics       String                                              COMMENT 'JSON: totals of this machine and user after the run, warnings',
    error            String                                              COMMENT 'what failed; empty when nothing did',
    created_at       DateTime('UTC')                                     COMMENT 'when the row was written, UTC',
    updated_at       DateTime('UTC')                                     COMMENT 'when the row was written, UTC'
)
ENGINE = ReplacingMergeTree(updated_at)
PARTITION BY toYYYYMM(import_timestamp)
ORDER BY (import_timestamp, machine_name, user_name, import_id)
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1
COMMENT 'every import, failed ones too';

-- one row per day: all sources, machines and users together
CREATE VIEW IF NOT EXISTS ccusage_v_daily_summary AS
SELECT
    date,
    sum(total_cost) AS cost,
    sum(total_tokens) AS tokens,
    sum(input_tokens) AS input,
    sum(output_tokens) AS output,
    sum(cache_creation_tokens) AS cache_creation,
    sum(cache_read_tokens) AS cache_read,
    uniqExact(source) AS sources,
    uniqExact(machine_name, user_name) AS machines,
    if(tokens = 0, 0, cost / tokens * 1000000) AS cost_per_million_tokens
FROM ccusage_usage_daily FINAL
GROUP BY date
ORDER BY date DESC;

-- one row per session, the latest first
CREATE VIEW IF NOT EXISTS ccusage_v_session_summary AS
SELECT
    session_id,
    project_path,
    source,
    machine_name,
    user_name,
    first_activity,
    last_activity,
    total_cost,
    total_tokens,
    models_count,
    if(total_tokens = 0, 0, total_cost / total_tokens * 1000000) AS cost_per_million_tokens
FROM ccusage_usage_sessions FINAL
ORDER BY last_activity DESC, session_id, source, machine_name, user_name;

-- one row per source and model, from the daily records
CREATE VIEW IF NOT EXISTS ccusage_v_model_performance AS
SELECT
    source,
    model_name,
    sum(cost) AS model_cost,
    sum(total_tokens) AS tokens,
    sum(output_tokens) AS output,
    uniqExact(record_key) AS days_used,
    if(tokens = 0, 0, model_cost / tokens * 1000000) AS cost_per_million_tokens
FROM ccusage_model_breakdowns FINAL
WHERE record_type = 'daily'
GROUP BY source, model_name
ORDER BY model_cost DESC, source, model_name;

-- one row per month: all sources, machines and users together, with the change to the month before
CREATE VIEW IF NOT EXISTS ccusage_v_monthly_trends AS
WITH months AS
(
    SELECT
        month,
        sum(total_cost) AS cost,
        sum(total_tokens) AS tokens
    FROM ccusage_usage_monthly FINAL
    GROUP BY month
)
SELECT
    month,
    cost,
    tokens,
    cost - lagInFrame(cost, 1, 0) OVER (ORDER BY month ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS cost_change,
    if(tokens = 0, 0, cost / tokens * 1000000) AS cost_per_million_tokens
FROM months
ORDER BY month DESC;

-- one row per billing block that is running now
CREATE VIEW IF NOT EXISTS ccusage_v_active_blocks AS
SELECT
    block_id,
    source,
    machine_name,
    user_name,
    start_time,
    end_time,
    dateDiff('minute', now('UTC'), end_time) AS minutes_left,
    entries,
    total_tokens,
    cost_usd,
    burn_rate,
    `projection`
FROM ccusage_usage_blocks FINAL
WHERE is_active = 1 AND is_gap = 0 AND end_time > now('UTC')
ORDER BY start_time, source, machine_name, user_name;
