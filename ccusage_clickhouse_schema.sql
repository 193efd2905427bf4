-- Tables and views of ccusage-importer: the one definition of what is stored.
--
-- Applied by the first import, safe to apply again. Add a table, a column (a line each, with its comment) or
-- another text of a view here, and the next import adds it to every database; none is taken away. Names are without a database: run it in the one you
-- want (the importer uses CH_DATABASE, 'ccusage' by default). Needs ClickHouse 25.8 or newer.
--
-- Whose row it is, machine_name and user_name say together. Read tables with FINAL: a replaced row may
-- still be there until parts merge. The two block columns settings let a DELETE write a small patch
-- instead of rewriting every part (8 ms where the classic one took 0.5 to 1.8 s). Where an import reads a few rows of
-- many by their key, an index of every 1,024 rows instead of every 8,192 takes a third less time.

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
    coverage              LowCardinality(String) DEFAULT 'ccusage' COMMENT 'what the numbers rest on: ccusage (its word), messages (the same as its messages), derived (their sum: ccusage sees less of them), lowered (by --allow-shrink)',
    created_at            DateTime('UTC')        COMMENT 'first import of the row, UTC',
    updated_at            DateTime('UTC')        COMMENT 'last change of the row, UTC; the version that wins'
)
ENGINE = ReplacingMergeTree(updated_at)
PARTITION BY toYear(date)
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
    coverage              LowCardinality(String) DEFAULT 'ccusage' COMMENT 'what the numbers rest on: ccusage (its word), messages (the same as its messages), derived (their sum: ccusage sees less of them), lowered (by --allow-shrink)',
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
    coverage              LowCardinality(String)    DEFAULT 'ccusage' COMMENT 'what the numbers rest on: ccusage (its word), messages (the same as its messages), derived (their sum: ccusage sees less of them), lowered (by --allow-shrink)',
    created_at            DateTime('UTC')           COMMENT 'first import of the row, UTC',
    updated_at            DateTime('UTC')           COMMENT 'last change of the row, UTC; the version that wins'
)
ENGINE = ReplacingMergeTree(updated_at)
PARTITION BY toYear(last_activity)
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
    coverage               LowCardinality(String)    DEFAULT 'ccusage' COMMENT 'what the numbers rest on: ccusage (its word), messages (the same as its messages), derived (their sum: ccusage sees less of them), lowered (by --allow-shrink)',
    created_at             DateTime('UTC')           COMMENT 'first import of the row, UTC',
    updated_at             DateTime('UTC')           COMMENT 'last change of the row, UTC; the version that wins'
)
ENGINE = ReplacingMergeTree(updated_at)
PARTITION BY toYear(start_time)
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
    coverage              LowCardinality(String) DEFAULT 'ccusage' COMMENT 'what the numbers rest on: ccusage (its word), messages (the same as its messages), derived (their sum: ccusage sees less of them), lowered (by --allow-shrink)',
    created_at            DateTime('UTC')        COMMENT 'first import of the row, UTC',
    updated_at            DateTime('UTC')        COMMENT 'last change of the row, UTC; the version that wins'
)
ENGINE = ReplacingMergeTree(updated_at)
PARTITION BY toYear(date)
ORDER BY (date, source, machine_name, user_name, project_id)
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, index_granularity = 1024
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
ORDER BY (record_type, source, machine_name, user_name, record_key, model_name)
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, index_granularity = 1024
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
ORDER BY (record_type, source, machine_name, user_name, record_key, model_name)
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1, index_granularity = 1024
COMMENT 'models of each record';

-- one row per import run
CREATE TABLE IF NOT EXISTS ccusage_import_history
(
    import_id        String                                              COMMENT 'random id of the run',
    import_timestamp DateTime('UTC')                                     COMMENT 'start of the run, UTC',
    machine_name     LowCardinality(String)                              COMMENT 'machine that imported',
    user_name        LowCardinality(String)                              COMMENT 'user whose logs were imported',
    duration_seconds Float64                                             COMMENT 'seconds from start to end',
    status           Enum8('completed' = 1, 'partial' = 2, 'failed' = 3) COMMENT 'partial: some of it could not be stored, the rest is',
    importer_version LowCardinality(String)                              COMMENT 'version of ccusage-importer',
    ccusage_version  LowCardinality(String)                              COMMENT 'version of ccusage; empty where it did not start',
    timezone         LowCardinality(String)                              COMMENT 'IANA zone by which days are cut, fixed at the first import',
    privacy          LowCardinality(String)                              COMMENT 'how project names are stored: plain, sha256, or hmac and the key''s fingerprint',
    computer         LowCardinality(String)                              COMMENT 'keyed hash of the machine id of the computer that ran ccusage; empty where it has none',
    rows_new         Map(LowCardinality(String), UInt64)                 COMMENT 'rows inserted, by report',
    rows_changed     Map(LowCardinality(String), UInt64)                 COMMENT 'rows replaced, by report',
    rows_unchanged   Map(LowCardinality(String), UInt64)                 COMMENT 'rows left alone, by report',
    rows_kept        Map(LowCardinality(String), UInt64)                 COMMENT 'rows kept although ccusage said less, by report',
    rows_covered     Map(LowCardinality(String), UInt64)                 COMMENT 'rows that are the sum of their messages, by report; those derived among them',
    rows_derived     Map(LowCardinality(String), UInt64)                 COMMENT 'rows made of their messages, of which ccusage said less, by report',
    log_files        UInt64                                              COMMENT 'log files read: new, changed, or read again',
    log_bytes        UInt64                                              COMMENT 'bytes of these',
    messages         UInt64                                              COMMENT 'messages found in these, stored before or not',
    tool_calls       UInt64                                              COMMENT 'uses of tools found in these, stored before or not',
    broken_lines     UInt64                                              COMMENT 'lines of these that are no JSON',
    data_hash        UInt64                                              COMMENT 'hash over all fetched rows',
    statistics       String                                              COMMENT 'JSON: totals of this machine and user after the run, warnings',
    error            String                                              COMMENT 'what failed; empty when nothing did',
    created_at       DateTime('UTC')                                     COMMENT 'when the row was written, UTC',
    updated_at       DateTime('UTC')                                     COMMENT 'when the row was written, UTC'
)
ENGINE = ReplacingMergeTree(updated_at)
PARTITION BY toYear(import_timestamp)
ORDER BY (import_timestamp, machine_name, user_name, import_id)
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1
COMMENT 'every import, failed ones too';

-- one row per response of the API, prompt, command, interruption, compaction, ... of each machine and user: what the
-- logs of conversations say, without a word of their text. The weight chooses between copies as ccusage does, so
-- reading a log again, or another log that repeats it, adds nothing
CREATE TABLE IF NOT EXISTS ccusage_messages
(
    message_id            UInt64                 COMMENT 'hash: of a response, 40 bits of its API id and 24 of its request''s; else 64 of the line''s uuid',
    kind                  LowCardinality(String) COMMENT 'response, prompt, command, interruption, compaction, api error, turn or pull request',
    date                  Date                   COMMENT 'day in the machine''s fixed time zone, of the line that counts',
    started_at            DateTime64(3, 'UTC')   COMMENT 'time of the line that counts, UTC',
    ended_at              DateTime64(3, 'UTC')   COMMENT 'time of the message''s last line, UTC',
    source                LowCardinality(String) COMMENT 'agent: claude',
    machine_name          LowCardinality(String) COMMENT 'machine that imported the row',
    user_name             LowCardinality(String) COMMENT 'user whose logs the row comes from',
    session_id            String                 COMMENT 'session as in ccusage_usage_sessions',
    project_id            String                 COMMENT 'project as in ccusage_usage_projects_daily',
    agent_id              String                 COMMENT 'private id of the sub-agent; empty for the session itself',
    is_sidechain          UInt8                  COMMENT '1 for a message of a sub-agent',
    parent_id             UInt64                 COMMENT 'hash of the uuid of the line before; 0 where there is none',
    model                 LowCardinality(String) COMMENT 'model of a response as ccusage names it, -fast and <synthetic> included; empty elsewhere',
    version               LowCardinality(String) COMMENT 'version of Claude Code; empty where unknown',
    branch_id             LowCardinality(String) COMMENT 'main, master or the private id of the git branch; empty where unknown',
    effort                LowCardinality(String) COMMENT 'effort asked of the model: low, medium, high, ...; empty where unknown',
    input_tokens          UInt64                 COMMENT 'tokens sent, cache aside',
    output_tokens         UInt64                 COMMENT 'tokens received',
    cache_creation_tokens UInt64                 COMMENT 'tokens written to the prompt cache',
    cache_1h_tokens       UInt64                 COMMENT 'of these, tokens written for an hour',
    cache_read_tokens     UInt64                 COMMENT 'tokens read from the prompt cache',
    thinking_tokens       UInt64                 COMMENT 'of the output, tokens of thinking; 0 where unknown',
    web_searches          UInt32                 COMMENT 'searches that the API made for the response',
    waited_ms             UInt64                 COMMENT 'milliseconds since the line before it: of a response what the model took, of a prompt what the person took',
    duration_ms           UInt64                 COMMENT 'milliseconds from prompt to answer, as a turn says; of a response from its first line to its last',
    text_chars            UInt64                 COMMENT 'characters of text, written or typed',
    thinking_chars        UInt64                 COMMENT 'characters of thinking',
    tool_uses             UInt32                 COMMENT 'tools that the response asked for',
    api_status            UInt16                 COMMENT 'HTTP status of an api error; 0 where unknown',
    compaction            LowCardinality(String) COMMENT 'auto, manual or other, of a compaction; empty elsewhere',
    compacted_tokens      UInt64                 COMMENT 'tokens in the context before a compaction',
    named_session         UInt32                 COMMENT 'hash of the session that the line itself names: a sidechain repeats responses of the same',
    weight                UInt128                COMMENT 'the copy that counts has the largest: no sidechain, tokens, a speed, the first path, lines'
)
ENGINE = ReplacingMergeTree(weight)
PARTITION BY toStartOfQuarter(date)
ORDER BY (message_id, source, machine_name, user_name)
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1
COMMENT 'conversations: responses, prompts and what else happened';

-- one row per use of a tool, machine and user
CREATE TABLE IF NOT EXISTS ccusage_tool_calls
(
    tool_use_id    UInt64                 COMMENT 'hash of the API''s id of the use',
    api_id         UInt64                 COMMENT 'message_id of the response that asked; 0 where its line is gone',
    date           Date                   COMMENT 'day in the machine''s fixed time zone',
    started_at     DateTime64(3, 'UTC')   COMMENT 'when the tool was asked for, UTC',
    duration_ms    UInt64                 COMMENT 'milliseconds the tool took, a wait for permission in it; 0 where unknown',
    source         LowCardinality(String) COMMENT 'agent: claude',
    machine_name   LowCardinality(String) COMMENT 'machine that imported the row',
    user_name      LowCardinality(String) COMMENT 'user whose logs the row comes from',
    session_id     String                 COMMENT 'session as in ccusage_usage_sessions',
    project_id     String                 COMMENT 'project as in ccusage_usage_projects_daily',
    agent_id       String                 COMMENT 'private id of the sub-agent that asked; empty for the session itself',
    model          LowCardinality(String) COMMENT 'model of the response that asked',
    tool           LowCardinality(String) COMMENT 'tool; MCP servers and their tools as mcp__ and private ids',
    program        LowCardinality(String) COMMENT 'first word of a Bash command where it is a known program, else other; empty for other tools',
    subagent_type  LowCardinality(String) COMMENT 'type of a sub-agent that was started, private id where it is the user''s own; empty elsewhere',
    spawned_agent  String                 COMMENT 'agent_id of the sub-agent that was started; empty elsewhere',
    state          LowCardinality(String) COMMENT 'ok, error, user-rejected, cancelled, permission-rule, or running: no result yet',
    error_kind     LowCardinality(String) COMMENT 'class of an error; empty where there was none',
    file_id        String                 COMMENT 'private id of the file, 16 hex digits; empty where there was none',
    extension      LowCardinality(String) COMMENT 'extension of the file where it is a known one, else other; empty where there was no file',
    write_type     LowCardinality(String) COMMENT 'create or update; empty where nothing was written',
    lines_added    UInt32                 COMMENT 'lines added to the file',
    lines_removed  UInt32                 COMMENT 'lines removed from the file',
    lines_read     UInt32                 COMMENT 'lines read from the file',
    result_bytes   UInt64                 COMMENT 'bytes of the result that the model was given',
    user_modified  UInt8                  COMMENT '1 where the user changed what was to be written',
    agent_tokens   UInt64                 COMMENT 'tokens in all of a sub-agent, as its result says; 0 elsewhere',
    weight         UInt128                COMMENT 'the copy that counts has the largest: with a result, no sidechain, the first path'
)
ENGINE = ReplacingMergeTree(weight)
PARTITION BY toStartOfQuarter(date)
ORDER BY (tool_use_id, source, machine_name, user_name)
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1
COMMENT 'conversations: uses of tools and what came of them';

-- one row per log file that has been read, machine and user
CREATE TABLE IF NOT EXISTS ccusage_log_files
(
    machine_name LowCardinality(String) COMMENT 'machine that has the file',
    user_name    LowCardinality(String) COMMENT 'user whose log it is',
    source       LowCardinality(String) COMMENT 'agent: claude',
    file_id      String                 COMMENT 'private id of the file, 16 hex digits',
    name_id      UInt64                 COMMENT 'hash of its name below the project''s folder: a renamed folder''s files are known again by it',
    session_id   String                 COMMENT 'session of the file',
    project_id   String                 COMMENT 'project of the file',
    size         UInt64                 COMMENT 'bytes when it was read',
    modified_at  DateTime64(9, 'UTC')   COMMENT 'its modification time when it was read, UTC',
    place        UInt64                 COMMENT 'orders the files as their paths do, which are not stored',
    lines        UInt64                 COMMENT 'lines that hold something',
    broken_lines UInt64                 COMMENT 'of these, lines that are no JSON',
    reader       UInt16                 COMMENT 'version of the extraction: a newer one reads the file again; 0 while it is read',
    read_at      DateTime64(3, 'UTC')   COMMENT 'when it was read, UTC; the version that wins'
)
ENGINE = ReplacingMergeTree(read_at)
ORDER BY (machine_name, user_name, source, file_id)
COMMENT 'log files that have been read: what is here with a reader is in the other tables';

-- one row per user and period: what may be spent. Filled by hand: a team's by its administrator, your own by you
CREATE TABLE IF NOT EXISTS ccusage_budgets
(
    user_name  LowCardinality(String)        COMMENT 'whose budget it is, as in the other tables',
    period     Enum8('day' = 1, 'month' = 2) COMMENT 'in what time: day or month',
    dollars    Float64                       COMMENT 'US dollars that may be spent in it, on all machines; 0: no budget any more',
    updated_at DateTime('UTC')               DEFAULT now('UTC') COMMENT 'when it was set, UTC; the latest wins'
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY (user_name, period)
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1
COMMENT 'budgets by user, filled by hand';

-- one row per day of which Claude Code itself has counted messages (stats-cache.json), machine and user: also of days whose
-- logs were gone before anybody read them. No usage: neither tokens nor a cost. Of a day's rows the one with most counts
CREATE TABLE IF NOT EXISTS ccusage_activity
(
    date         Date                   COMMENT 'day, in the machine''s zone; Claude Code puts a session on the day on which it began',
    source       LowCardinality(String) COMMENT 'agent: claude',
    machine_name LowCardinality(String) COMMENT 'machine on which it was counted',
    user_name    LowCardinality(String) COMMENT 'user whose activity it is',
    messages     UInt64                 COMMENT 'messages of the user and the model',
    sessions     UInt64                 COMMENT 'sessions',
    tool_calls   UInt64                 COMMENT 'uses of tools',
    weight       UInt64                 COMMENT 'their sum: of several rows of a day the largest counts',
    read_at      DateTime('UTC')        COMMENT 'when it was read, UTC'
)
ENGINE = ReplacingMergeTree(weight)
PARTITION BY toYear(date)
ORDER BY (date, source, machine_name, user_name)
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1
COMMENT 'activity of days as Claude Code counts it itself, also of days before the first log';

-- one row per thing that was deleted on demand (--forget) or taken over (--rename-machine), machine and user: what is here
-- comes back with no import
CREATE TABLE IF NOT EXISTS ccusage_forgotten
(
    machine_name LowCardinality(String) COMMENT 'machine whose rows it were, or that has taken them over',
    user_name    LowCardinality(String) COMMENT 'user whose rows it were',
    what         LowCardinality(String) COMMENT 'messages (with tool calls), rows (days, projects, sessions, blocks) or months, each before a day; project; machine: a former name of it',
    name         String                 COMMENT 'private id of the project, or the former name; empty elsewhere',
    before       Date                   COMMENT 'the first day that is kept; 1970-01-01 elsewhere',
    began        DateTime('UTC')        COMMENT 'when that day began in the machine''s zone, UTC',
    is_done      UInt8                  COMMENT '0 while rows are taken over or deleted: the next import goes on',
    updated_at   DateTime64(3, 'UTC')   COMMENT 'when it was asked for or done, UTC; the version that wins'
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY (machine_name, user_name, what, name, before)
SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1
COMMENT 'what was deleted on demand, and stays deleted';

-- Nothing goes by itself. Who wants conversations to pastes these. Responses stay, for totals are sums of them; a log that
-- is read again brings back what it holds, where --forget --before DAY --conversations does not let it:
--     ALTER TABLE ccusage_messages MODIFY TTL toDateTime(started_at) + INTERVAL 2 YEAR DELETE WHERE kind != 'response'
--     ALTER TABLE ccusage_tool_calls MODIFY TTL toDateTime(started_at) + INTERVAL 2 YEAR

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
WITH
    per_month AS
    (
        SELECT
            month,
            sum(total_cost) AS cost,
            sum(total_tokens) AS tokens
        FROM ccusage_usage_monthly FINAL
        GROUP BY month
    ),
    months AS
    (
        SELECT
            month,
            cost,
            tokens,
            lagInFrame((month, cost), 1, ('', 0)) OVER (ORDER BY month ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before,
            formatDateTime(addMonths(toDate(concat(month, '-01')), -1), '%Y-%m') AS month_before,
            multiIf(before.1 = '', NULL, before.1 = month_before, before.2, 0) AS cost_before
        FROM per_month
    )
SELECT
    month,
    cost,
    tokens,
    cost - cost_before AS cost_change,
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

-- what the rows of days, of their models and of projects tell, each taken off again from what it is a part of: any sum of
-- these is usage, and the rows are read once
CREATE VIEW IF NOT EXISTS ccusage_v_usage_parts AS
WITH told AS
(
    SELECT
        toDate(left(record_key, 10)) AS day,
        arrayJoin(
            if(
                record_type = 'daily',
                [('', name, its_cost, its_tokens), ('', '', -its_cost, -its_tokens)],
                [(substring(record_key, 12), name, its_cost, its_tokens), ('', name, -its_cost, -its_tokens)]
            )
        ) AS part,
        source,
        machine_name,
        user_name
    FROM
    (
        SELECT
            record_type,
            record_key,
            toString(model_name) AS name,
            source,
            machine_name,
            user_name,
            cost AS its_cost,
            toInt64(total_tokens) AS its_tokens
        FROM ccusage_model_breakdowns FINAL
        WHERE record_type IN ('daily', 'project_daily') AND if(record_type = 'daily', name, substring(record_key, 12)) != ''
    )
    UNION ALL
    SELECT date, ('', '', total_cost, toInt64(total_tokens)), source, machine_name, user_name
    FROM ccusage_usage_daily FINAL
)
SELECT
    day AS date,
    part.1 AS project_id,
    part.2 AS model,
    source,
    machine_name,
    user_name,
    part.3 AS cost,
    part.4 AS tokens
FROM told;

-- one row per day, project, model, agent, machine and user; its sums are those of ccusage_usage_daily. What ccusage
-- tells for no project (of agents other than Claude Code), or of no model, stands under an empty name
CREATE VIEW IF NOT EXISTS ccusage_v_usage AS
SELECT
    date,
    project_id,
    model,
    source,
    machine_name,
    user_name,
    round(sum(parts.cost), 9) AS cost,
    sum(parts.tokens) AS tokens
FROM ccusage_v_usage_parts AS parts
GROUP BY date, project_id, model, source, machine_name, user_name
HAVING cost != 0 OR tokens != 0;

-- ---- the star schema: conversations with what they cost ------------------------------------------------

-- one row per message, with its share of what ccusage says that its project, day and model cost. The shares follow
-- the prices' proportions (an input token 1, output 5, written to the cache 1.25, for an hour 2, read from it 0.1),
-- so they add up to ccusage's cost; has_cost tells what has no stored one. Costs are found by a day and a hash of the
-- rest of the key: by its six columns themselves it took twice the time
CREATE VIEW IF NOT EXISTS ccusage_fct_messages AS
WITH weights AS
(
    SELECT
        date,
        cityHash64(source, machine_name, user_name, project_id, model) AS share_of,
        sum(input_tokens + 5 * output_tokens + 1.25 * cache_creation_tokens + 0.75 * cache_1h_tokens + 0.1 * cache_read_tokens) AS weight_of_all
    FROM ccusage_messages FINAL
    WHERE kind = 'response'
    GROUP BY date, share_of
),
costs AS
(
    SELECT
        toDateOrZero(left(record_key, 10)) AS date,
        cityHash64(source, machine_name, user_name, substring(record_key, 12), model_name) AS share_of,
        cost AS cost_of_all
    FROM ccusage_model_breakdowns FINAL
    WHERE record_type = 'project_daily'
),
rates AS
(
    SELECT
        date,
        share_of,
        if(weight_of_all = 0, 0, cost_of_all / weight_of_all) AS rate,
        1 AS has_rate
    FROM weights
    INNER ANY JOIN costs USING (date, share_of)
),
said AS
(
    SELECT *, cityHash64(source, machine_name, user_name, project_id, model) AS share_of
    FROM ccusage_messages FINAL
)
SELECT
    message_id,
    kind,
    date,
    started_at,
    ended_at,
    source,
    machine_name,
    user_name,
    session_id,
    project_id,
    agent_id,
    is_sidechain,
    parent_id,
    model,
    version,
    branch_id,
    effort,
    input_tokens,
    output_tokens,
    cache_creation_tokens,
    cache_1h_tokens,
    cache_read_tokens,
    thinking_tokens,
    input_tokens + output_tokens + cache_creation_tokens + cache_read_tokens AS total_tokens,
    rate * (input_tokens + 5 * output_tokens + 1.25 * cache_creation_tokens + 0.75 * cache_1h_tokens + 0.1 * cache_read_tokens) AS cost,
    kind = 'response' AND has_rate AS has_cost,
    web_searches,
    waited_ms,
    duration_ms,
    text_chars,
    thinking_chars,
    tool_uses,
    api_status,
    compaction,
    compacted_tokens
FROM said
LEFT ANY JOIN rates USING (date, share_of);

-- one row per use of a tool; a response's cost is divided equally among the tools that it asked for
CREATE VIEW IF NOT EXISTS ccusage_fct_tool_calls AS
WITH asking AS
(
    SELECT message_id, cityHash64(source, machine_name, user_name) AS owner, cost AS cost_of_response, tool_uses
    FROM ccusage_fct_messages
    WHERE kind = 'response' AND tool_uses > 0
)
SELECT
    tool_use_id,
    api_id,
    date,
    started_at,
    duration_ms,
    source,
    machine_name,
    user_name,
    session_id,
    project_id,
    agent_id,
    model,
    tool,
    multiIf(
        startsWith(tool, 'mcp'), 'mcp',
        tool IN ('Read', 'NotebookRead', 'Grep', 'Glob', 'LS', 'LSP'), 'reading',
        tool IN ('Edit', 'MultiEdit', 'Write', 'NotebookEdit'), 'writing',
        tool IN ('Bash', 'BashOutput', 'KillBash', 'KillShell', 'PowerShell'), 'commands',
        tool IN ('WebFetch', 'WebSearch'), 'web',
        tool IN ('Task', 'Agent', 'TaskOutput', 'TaskStop', 'AgentOutput', 'AgentOutputTool', 'SendMessage'), 'sub-agents',
        tool IN ('Skill', 'SlashCommand', 'ToolSearch'), 'skills',
        tool IN ('AskUserQuestion', 'EnterPlanMode', 'ExitPlanMode') OR tool LIKE 'Todo%' OR tool LIKE 'Task%', 'planning',
        'other'
    ) AS category,
    program,
    subagent_type,
    spawned_agent,
    state,
    error_kind,
    file_id,
    extension,
    write_type,
    lines_added,
    lines_removed,
    lines_read,
    result_bytes,
    user_modified,
    agent_tokens,
    if(tool_uses = 0, 0, cost_of_response / tool_uses) AS cost
FROM ccusage_tool_calls FINAL
LEFT ANY JOIN asking ON api_id = message_id AND cityHash64(source, machine_name, user_name) = owner;

-- one row per use of a tool that read or wrote a file
CREATE VIEW IF NOT EXISTS ccusage_fct_file_operations AS
SELECT
    tool_use_id,
    date,
    started_at,
    source,
    machine_name,
    user_name,
    session_id,
    project_id,
    agent_id,
    model,
    tool,
    multiIf(category != 'writing', 'read', write_type = 'create', 'create', write_type = 'update', 'rewrite', 'edit') AS operation,
    file_id,
    extension,
    state,
    error_kind,
    lines_added,
    lines_removed,
    lines_read,
    user_modified,
    cost
FROM ccusage_fct_tool_calls
WHERE file_id != '';

-- one row per prompt, command and response, with the session of the prompt that set it off: of a sub-agent that one which
-- sent it, wherever its lines are
CREATE VIEW IF NOT EXISTS ccusage_fct_turns AS
WITH homes AS
(
    SELECT cityHash64(source, machine_name, user_name, spawned_agent) AS agent, any(session_id) AS home
    FROM ccusage_tool_calls FINAL
    WHERE spawned_agent != ''
    GROUP BY agent
)
SELECT
    said.date AS date,
    said.started_at AS started_at,
    said.ended_at AS ended_at,
    said.source AS source,
    said.machine_name AS machine_name,
    said.user_name AS user_name,
    if(home = '', said.session_id, home) AS home_id,
    said.project_id AS project_id,
    said.kind AS kind,
    said.total_tokens AS total_tokens,
    said.cost AS cost,
    said.tool_uses AS tool_uses
FROM ccusage_fct_messages AS said
LEFT ANY JOIN homes ON cityHash64(said.source, said.machine_name, said.user_name, said.agent_id) = agent
WHERE kind IN ('prompt', 'command', 'response');

-- one row per prompt, or command that was answered, with everything that it set off until the next one: responses, their
-- tools, sub-agents wherever their lines are. What precedes the first prompt of a session has is_prompt 0, so that the
-- costs add up
CREATE VIEW IF NOT EXISTS ccusage_fct_prompts AS
WITH placed AS
(
    SELECT
        *,
        sum(kind != 'response') OVER (
            PARTITION BY source, machine_name, user_name, home_id
            ORDER BY started_at, kind  -- command, prompt, response: in this order at one moment
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS number
    FROM ccusage_fct_turns
)
SELECT
    min(placed.date) AS date,
    min(placed.started_at) AS started_at,
    max(placed.ended_at) AS ended_at,
    source,
    machine_name,
    user_name,
    home_id AS session_id,
    number,
    number > 0 AS is_prompt,
    argMin(placed.project_id, placed.started_at) AS project_id,
    countIf(kind = 'response') AS responses,
    sumIf(placed.tool_uses, kind = 'response') AS tools,
    sum(placed.total_tokens) AS total_tokens,
    sum(placed.cost) AS cost
FROM placed
GROUP BY source, machine_name, user_name, home_id, number
HAVING responses > 0 OR countIf(kind = 'prompt') > 0;

-- one row per day, from the first with anything to the last
CREATE VIEW IF NOT EXISTS ccusage_dim_date AS
WITH used AS
(
    SELECT date FROM ccusage_usage_daily FINAL
    UNION ALL
    SELECT date FROM ccusage_messages FINAL
)
SELECT
    date,
    toYear(date) AS year,
    toQuarter(date) AS quarter,
    toMonth(date) AS month_num,
    formatDateTime(date, '%Y-%m') AS month,
    toMonday(date) AS week,
    toDayOfWeek(date) AS weekday,
    formatDateTime(date, '%a') AS weekday_name,
    weekday > 5 AS is_weekend
FROM
(
    SELECT arrayJoin(if(count() = 0, [], arrayMap(n -> min(date) + n, range(toUInt32(max(date) - min(date)) + 1)))) AS date
    FROM used
)
ORDER BY date;

-- one row per project: how much it was worked on, and when
CREATE VIEW IF NOT EXISTS ccusage_dim_projects AS
WITH told AS
(
    SELECT project_id, date, machine_name, user_name, total_cost AS cost, total_tokens AS tokens, 0 AS responses, 0 AS prompts, '' AS session_id
    FROM ccusage_usage_projects_daily FINAL
    UNION ALL
    SELECT project_id, date, machine_name, user_name, 0, 0, kind = 'response', kind = 'prompt', session_id
    FROM ccusage_messages FINAL
)
SELECT
    project_id,
    min(date) AS first_day,
    max(date) AS last_day,
    uniqExact(date) AS days_used,
    multiIf(last_day > today() - 7, 'active', last_day > today() - 30, 'quiet', 'resting') AS activity,
    uniqExactIf(session_id, session_id != '') AS sessions,
    sum(prompts) AS prompts,
    sum(responses) AS responses,
    uniqExact(machine_name, user_name) AS machines,
    sum(tokens) AS total_tokens,
    sum(cost) AS total_cost
FROM told
GROUP BY project_id
ORDER BY total_cost DESC, project_id;

-- one row per tool that has been used: its category, and when it was used
CREATE VIEW IF NOT EXISTS ccusage_dim_tools AS
SELECT
    tool,
    category,
    min(date) AS first_day,
    max(date) AS last_day,
    count() AS uses
FROM ccusage_fct_tool_calls
GROUP BY tool, category
ORDER BY uses DESC, tool;

-- one row per session: how long, how much, what it cost
CREATE VIEW IF NOT EXISTS ccusage_dim_sessions AS
WITH talked AS
(
    SELECT
        session_id,
        source,
        machine_name,
        user_name,
        any(project_id) AS project_id,
        min(started_at) AS first_message,
        max(ended_at) AS last_message,
        countIf(kind = 'response') AS responses,
        countIf(kind = 'prompt') AS prompts,
        countIf(kind = 'interruption') AS interruptions,
        countIf(kind = 'compaction') AS compactions,
        countIf(kind = 'api error') AS api_errors,
        sum(total_tokens) AS total_tokens,
        max(input_tokens + cache_creation_tokens + cache_read_tokens) AS largest_context,
        sum(cost) AS total_cost,
        sumIf(waited_ms, kind = 'response') AS waited_ms
    FROM ccusage_fct_messages
    GROUP BY session_id, source, machine_name, user_name
),
worked AS
(
    SELECT
        session_id,
        source,
        machine_name,
        user_name,
        count() AS tool_calls,
        countIf(state = 'error') AS failures,
        countIf(state IN ('user-rejected', 'cancelled', 'permission-rule')) AS refusals,
        sum(lines_added) AS lines_added,
        sum(lines_removed) AS lines_removed,
        uniqExactIf(file_id, file_id != '') AS files,
        sum(duration_ms) AS tools_ms
    FROM ccusage_tool_calls FINAL
    GROUP BY session_id, source, machine_name, user_name
)
SELECT
    session_id,
    project_id,
    source,
    machine_name,
    user_name,
    first_message,
    last_message,
    dateDiff('second', first_message, last_message) AS duration_seconds,
    responses,
    prompts,
    interruptions,
    compactions,
    api_errors,
    tool_calls,
    failures,
    refusals,
    lines_added,
    lines_removed,
    files,
    largest_context,
    waited_ms,
    tools_ms,
    total_tokens,
    total_cost
FROM talked
LEFT JOIN worked USING (session_id, source, machine_name, user_name);

-- one row per day, source, machine and user: what was used (of all agents), and what was done (where conversations are stored)
CREATE VIEW IF NOT EXISTS ccusage_agg_daily_summary AS
WITH facts AS
(
    SELECT
        date,
        source,
        machine_name,
        user_name,
        total_tokens,
        total_cost,
        0 AS responses,
        0 AS prompts,
        0 AS interruptions,
        '' AS session_id,
        0 AS tool_calls,
        0 AS failures,
        0 AS added,
        0 AS removed,
        '' AS file_id
    FROM ccusage_usage_daily FINAL
    UNION ALL
    SELECT date, source, machine_name, user_name, 0, 0, kind = 'response', kind = 'prompt', kind = 'interruption', session_id, 0, 0, 0, 0, ''
    FROM ccusage_messages FINAL
    UNION ALL
    SELECT date, source, machine_name, user_name, 0, 0, 0, 0, 0, session_id, 1, state = 'error', lines_added, lines_removed, file_id
    FROM ccusage_tool_calls FINAL
)
SELECT
    date,
    source,
    machine_name,
    user_name,
    sum(facts.total_cost) AS total_cost,
    sum(facts.total_tokens) AS total_tokens,
    uniqExactIf(session_id, session_id != '') AS sessions,
    sum(facts.prompts) AS prompts,
    sum(facts.responses) AS responses,
    sum(facts.interruptions) AS interruptions,
    sum(facts.tool_calls) AS tool_calls,
    sum(facts.failures) AS failures,
    sum(added) AS lines_added,
    sum(removed) AS lines_removed,
    uniqExactIf(file_id, file_id != '') AS files
FROM facts
GROUP BY date, source, machine_name, user_name
ORDER BY date DESC, source, machine_name, user_name;

-- one row per hour in which something was said, source, machine and user
CREATE VIEW IF NOT EXISTS ccusage_agg_hourly_activity AS
SELECT
    toStartOfHour(started_at) AS hour,
    source,
    machine_name,
    user_name,
    countIf(kind = 'prompt') AS prompts,
    countIf(kind = 'response') AS responses,
    sumIf(tool_uses, kind = 'response') AS tool_calls,
    uniqExact(session_id) AS sessions,
    sum(fct.total_tokens) AS total_tokens,
    sum(cost) AS total_cost
FROM ccusage_fct_messages AS fct
GROUP BY hour, source, machine_name, user_name
ORDER BY hour DESC, source, machine_name, user_name;

-- one row per session: rates and shares that tell sessions apart
CREATE VIEW IF NOT EXISTS ccusage_agg_session_metrics AS
SELECT
    session_id,
    project_id,
    source,
    machine_name,
    user_name,
    first_message,
    duration_seconds,
    total_cost,
    if(prompts = 0, NULL, total_cost / prompts) AS cost_per_prompt,
    if(prompts = 0, NULL, tool_calls / prompts) AS tools_per_prompt,
    if(tool_calls = 0, NULL, 100 * failures / tool_calls) AS failed_percent,
    if(tool_calls = 0, NULL, 100 * refusals / tool_calls) AS refused_percent,
    if(prompts = 0, NULL, 100 * interruptions / prompts) AS interrupted_percent,
    if(lines_added + lines_removed = 0, NULL, total_cost / (lines_added + lines_removed)) AS cost_per_line,
    waited_ms / 1000 AS model_seconds,
    tools_ms / 1000 AS tools_seconds,
    largest_context,
    compactions
FROM ccusage_dim_sessions;

-- one row per tool: how often it works, how long it takes, what its use costs
CREATE VIEW IF NOT EXISTS ccusage_agg_tool_efficiency AS
SELECT
    tool,
    category,
    count() AS uses,
    countIf(state = 'ok') AS succeeded,
    countIf(state = 'error') AS failed,
    countIf(state IN ('user-rejected', 'cancelled', 'permission-rule')) AS refused,
    if(succeeded + failed = 0, NULL, 100 * succeeded / (succeeded + failed)) AS succeeded_percent,
    quantileExactInclusive(0.5)(duration_ms) AS median_ms,
    quantileExact(0.95)(duration_ms) AS slow_ms,
    sum(duration_ms) AS all_ms,
    sum(result_bytes) AS all_result_bytes,
    sum(cost) AS total_cost,
    total_cost / uses AS cost_per_use
FROM ccusage_fct_tool_calls
GROUP BY tool, category
ORDER BY total_cost DESC, tool;
