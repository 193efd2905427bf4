-- How a log of conversations is read: named statements, run one after the other by the engine in process for each
-- batch of logs. `files` says which logs these are, `read_lines` takes out of them what is stored, and each of the others
-- answers with the rows of the table that it is named after. The tables of `reading` are in memory and gone with the
-- process; temporary ones would be one connection's, and two read these at once.
--
-- No word of a text gets into `lines`. What is stored of a text is its length, what is stored of a name is a hash, unless
-- it is one of the names listed here. What ccusage counts, and as what, was tried with ccusage 20.0.24.

-- name: files
CREATE TABLE reading.files
(
    number UInt32,
    file_id String,
    name_id UInt64,
    session_id String,
    project_id String,
    place UInt64,
    size UInt64,
    modified Int64
)
ENGINE = Memory;

-- name: read_files
-- One row for each log of the batch, as Python has written them beside the links: {manifest} is that file.
INSERT INTO reading.files
SELECT *
FROM file({manifest:String}, 'JSONEachRow');

-- name: texts
CREATE TABLE reading.texts
(
    number UInt32,
    row Int64,
    line String
)
ENGINE = Memory;

-- name: read_texts
-- One row for each line that holds something. Only LineAsString loses no good line behind a broken one, and only with
-- pread may a log shrink while it is read: with mmap, the default, that kills the process. The order is for blocks of
-- even size alone, which `lines` takes in turn on each of its threads: the engine gives one for each file, of which many
-- small ones cost 5 ms each, or all as one, of which `lines` then holds five copies.
INSERT INTO reading.texts
SELECT toUInt32(extract(CAST(_file, 'String'), '^[0-9]+')) AS number, assumeNotNull(_row_number) AS row, line
FROM file({logs:String}, 'LineAsString')
WHERE NOT match(line, '^\\s*$')
ORDER BY number, row
SETTINGS storage_file_read_method = 'pread', max_threads = {threads:UInt8}, max_block_size = 4096;

-- name: lines
-- The same lines without their texts.
CREATE TABLE reading.lines
(
    number UInt32,
    row Int64,
    is_broken UInt8,
    is_relayed UInt8,
    is_response Nullable(UInt8),
    kind String,
    at DateTime64(3, 'UTC'),
    is_dated Nullable(UInt8),
    is_sidechain Bool,
    agent_id String,
    uuid_id UInt64,
    parent_id UInt64,
    has_id UInt8,
    response_id UInt64,
    named_session UInt32,
    model String,
    version String,
    branch_id String,
    effort String,
    input_tokens Nullable(UInt64),
    output_tokens Nullable(UInt64),
    cache_creation_tokens UInt64,
    cache_1h_tokens UInt64,
    cache_read_tokens UInt64,
    thinking_tokens UInt64,
    web_searches UInt32,
    has_speed UInt8,
    text_chars UInt64,
    thinking_chars UInt64,
    duration_ms UInt64,
    api_status UInt16,
    compaction String,
    compacted_tokens UInt64,
    uses Array(Tuple(UInt64, String, String, String, String, String, UInt32)),
    results Array(Tuple(UInt64, String, String, UInt64)),
    write_type String,
    lines_added UInt32,
    lines_removed UInt32,
    has_patch UInt8,
    lines_read UInt32,
    tool_ms UInt64,
    user_modified Bool,
    spawned_agent String,
    agent_tokens UInt64
)
ENGINE = Memory
SETTINGS compress = 1;

-- name: read_lines
-- Everything is extracted at once, because each further JSONExtract parses the line again. Looking for chains such as
-- a < b AND b < c, of which there are none, takes half the time in which a statement of this size is analysed, and
-- merging its steps 15 ms.
INSERT INTO reading.lines
WITH
    'Tuple(id Nullable(String), model Nullable(String), usage String, content Array(Tuple(type String, text String,
        thinking String, id String, name String, input String, tool_use_id String, is_error Bool, content String)))'
        AS message_type,
    name -> multiIf(
        name = '' OR {privacy:String} = 'plain', name,
        {privacy:String} = 'sha256', lower(hex(SHA256(name))),
        lower(hex(SHA256(concat(unhex({outer_pad:String}), SHA256(concat(unhex({inner_pad:String}), name))))))
    ) AS digest,
    name -> if({privacy:String} = 'plain', name, substring(digest(name), 1, 8)) AS private,
    (name, known) -> if(has(known, name), name, private(name)) AS listed,
    (name, known) -> if(has(known, name), name, 'other') AS listed_or_other,
    -- the length by itself: a pattern that counts up to 199 of all letters takes 0.2 s to be compiled
    name -> if(match(name, '^([\\p{L}\\p{N}_<@\\[(][\\p{L}\\p{N}_.:@/<>\\[\\]+,()?=&#| -]*)?$') AND lengthUTF8(name) <= 200
        AND NOT match(name, '^(file:|[A-Za-z]:/)'),
        name, private(name)) AS modelled,
    ['Agent', 'AskUserQuestion', 'Bash', 'BashOutput', 'Edit', 'EnterPlanMode', 'EnterWorktree', 'ExitPlanMode',
        'ExitWorktree', 'Glob', 'Grep', 'KillBash', 'KillShell', 'LS', 'LSP', 'ListMcpResourcesTool', 'MultiEdit',
        'NotebookEdit', 'NotebookRead', 'PowerShell', 'Read', 'ReadMcpResourceTool', 'SendMessage', 'Skill',
        'SlashCommand', 'StructuredOutput', 'Task', 'TaskCreate', 'TaskGet', 'TaskList', 'TaskOutput', 'TaskStop',
        'TaskUpdate', 'TeamCreate', 'TeamDelete', 'TodoRead', 'TodoWrite', 'ToolSearch', 'WebFetch', 'WebSearch',
        'Write'] AS known_tools,
    ['Bash', 'Explore', 'Plan', 'claude-code-guide', 'general-purpose', 'output-style-setup', 'statusline-setup']
        AS known_agents,
    ['alembic', 'ansible', 'apt', 'apt-get', 'awk', 'aws', 'az', 'bash', 'bazel', 'black', 'brew', 'bun', 'bunx',
        'bundle', 'cargo', 'cat', 'cd', 'chmod', 'chown', 'claude', 'clang', 'cmake', 'composer', 'cp', 'curl', 'cut',
        'date', 'deno', 'df', 'diff', 'dig', 'docker', 'docker-compose', 'dotnet', 'du', 'echo', 'env', 'eslint',
        'export', 'false', 'fd', 'file', 'find', 'flask', 'flutter', 'for', 'gcc', 'gcloud', 'gem', 'gh', 'git', 'glab',
        'go', 'gradle', 'grep', 'gunzip', 'gzip', 'head', 'helm', 'hg', 'if', 'java', 'javac', 'jest', 'jq', 'julia',
        'just', 'kill', 'kubectl', 'less', 'ln', 'ls', 'make', 'mise', 'mix', 'mkdir', 'mongosh', 'mv', 'mvn', 'mypy',
        'mysql', 'next', 'ninja', 'node', 'npm', 'npx', 'nvm', 'openssl', 'perl', 'pgrep', 'php', 'pip', 'pip3',
        'pipx', 'pkill', 'playwright', 'pnpm', 'poetry', 'prettier', 'printf', 'prisma', 'ps', 'psql', 'pwd', 'pytest',
        'python', 'python3', 'pyright', 'R', 'rails', 'rake', 'redis-cli', 'rg', 'rm', 'rmdir', 'rsync', 'ruby', 'ruff',
        'rustc', 'rustup', 'scp', 'sed', 'set', 'sh', 'shellcheck', 'sleep', 'sort', 'source', 'sqlite3', 'ssh', 'stat',
        'sudo', 'swift', 'systemctl', 'tail', 'tar', 'tee', 'terraform', 'test', 'time', 'timeout', 'tmux', 'touch',
        'tr', 'tree', 'true', 'tsc', 'uniq', 'unzip', 'uv', 'uvx', 'vercel', 'vite', 'vitest', 'vue', 'wc', 'wget',
        'which', 'while', 'xargs', 'xcodebuild', 'yarn', 'zip', 'zsh'] AS known_programs,
    ['astro', 'avif', 'bash', 'bat', 'bib', 'bzl', 'c', 'cc', 'cfg', 'cjs', 'clj', 'cmake', 'conf', 'cpp', 'cs',
        'css', 'csv', 'cts', 'cu', 'cxx', 'dart', 'diff', 'dockerfile', 'el', 'elm', 'env', 'erb', 'erl', 'ex', 'exs',
        'fs', 'gif', 'go', 'gradle', 'graphql', 'groovy', 'h', 'hbs', 'hcl', 'hpp', 'hs', 'htm', 'html', 'ini', 'ipynb',
        'java', 'jl', 'jpeg', 'jpg', 'js', 'json', 'json5', 'jsonc', 'jsonl', 'jsx', 'kt', 'kts', 'less', 'lisp',
        'lock', 'log', 'lua', 'm', 'markdown', 'md', 'mdx', 'mjs', 'mk', 'ml', 'mm', 'mts', 'nim', 'nix', 'org', 'pdf',
        'php', 'pl', 'plist', 'png', 'prisma', 'properties', 'proto', 'ps1', 'pug', 'py', 'pyi', 'pyx', 'r', 'rb',
        'rego', 'rs', 'rst', 'sass', 'sbt', 'scala', 'scss', 'sh', 'sol', 'sql', 'styl', 'svelte', 'svg', 'swift',
        'tcl', 'tex', 'tf', 'tfvars', 'toml', 'ts', 'tsv', 'tsx', 'txt', 'v', 'vb', 'vue', 'webp', 'xml', 'yaml', 'yml',
        'zig', 'zsh'] AS known_extensions,
    extracted AS
    (
        SELECT
            number,
            row,
            line,
            untuple(JSONExtract(line, concat(
                'Tuple(type String, subtype String, timestamp String, sessionId Nullable(String), uuid String,
                    version Nullable(String), requestId Nullable(String), parentUuid String, gitBranch String,
                    isSidechain Bool, agentId String, isMeta Bool, isCompactSummary Bool, isApiErrorMessage Bool,
                    apiErrorStatus UInt16, toolDenialKind String, effort String, durationMs UInt64, prNumber String,
                    compactMetadata Tuple(trigger String, preTokens UInt64), error Tuple(status UInt16),
                    toolUseResult Tuple(type String, agentId String, totalTokens UInt64, durationMs UInt64,
                        userModified Bool, structuredPatch Array(Tuple(lines Array(String))),
                        file Tuple(numLines UInt32)),
                    message ', message_type, ',
                    data Tuple(agentId String, message Tuple(type String, timestamp String, uuid String,
                        requestId Nullable(String), isSidechain Bool, message ', message_type, ')))'
            ))) AS j
        FROM reading.texts
    ),
    -- A message of a sub-agent that the session's own log relays: ccusage's daily counts it as that message.
    relayed AS
    (
        SELECT
            *,
            `j.message`.usage = '' AND empty(`j.message`.content) AND `j.data`.message.timestamp != '' AS is_relayed,
            if(is_relayed, `j.data`.message.message, `j.message`) AS message,
            if(is_relayed, `j.data`.message.type, `j.type`) AS type,
            if(is_relayed, `j.data`.message.timestamp, `j.timestamp`) AS said_at,
            if(is_relayed, `j.data`.message.requestId, `j.requestId`) AS request,
            if(is_relayed, `j.data`.message.isSidechain, `j.isSidechain`) AS is_sidechain,
            if(is_relayed, `j.data`.message.uuid, `j.uuid`) AS uuid,
            if(is_relayed, `j.data`.agentId, `j.agentId`) AS agent,
            message.usage AS usage,
            -- the day before 1970-01-01 and all days after 2105 fit into no Date
            if(
                match(said_at, '^[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{3})?(Z|[+-][0-9]{2}:[0-9]{2})$'),
                parseDateTime64BestEffortOrNull(said_at, 3, 'UTC'),
                NULL
            ) AS moment,
            moment IS NOT NULL AND toYear(moment, 'UTC') BETWEEN 1971 AND 2104 AS is_dated
        FROM extracted
    ),
    counted AS
    (
        SELECT
            *,
            is_dated
            AND startsWith(usage, '{')
            AND position(line, '"usage":{') > 0
            AND NOT match(line, '"(id|cwd|model|speed|costUSD|version|sessionId|requestId|isApiErrorMessage|cache_read_input_tokens|cache_creation_input_tokens)"\\s*:\\s*null')
            AND (is_relayed OR `j.version` IS NULL OR match(`j.version`, '^[0-9]+[.][0-9]+[.][0-9]'))
            AND coalesce(request, '-') != '' AND coalesce(message.id, '-') != '' AND coalesce(message.model, '-') != ''
            AND (is_relayed OR coalesce(`j.sessionId`, '-') != '') AS may_count,
            if(may_count, usage, '{}') AS counted_usage,
            JSONExtract(counted_usage, 'Tuple(input_tokens Nullable(UInt64), output_tokens Nullable(UInt64),
                cache_creation_input_tokens UInt64, cache_read_input_tokens UInt64, speed Nullable(String),
                cache_creation String, server_tool_use Tuple(web_search_requests UInt32),
                output_tokens_details Tuple(thinking_tokens UInt64))') AS tokens,
            JSONExtract(tokens.cache_creation, 'Tuple(ephemeral_5m_input_tokens UInt64, ephemeral_1h_input_tokens UInt64)')
                AS created,
            may_count
            AND tokens.input_tokens IS NOT NULL AND tokens.output_tokens IS NOT NULL
            AND coalesce(tokens.speed, 'standard') IN ('standard', 'fast')
            AND (tokens.cache_creation = '' OR startsWith(tokens.cache_creation, '{'))
            AND NOT match(usage, '"(input_tokens|output_tokens|cache_creation_input_tokens|cache_read_input_tokens|ephemeral_5m_input_tokens|ephemeral_1h_input_tokens)":(["tfn\\[{-]|[0-9]+[.eE])')
                AS is_response
        FROM relayed
    ),
    -- What was typed, and whether a person typed it, only a text's first words tell.
    said AS
    (
        SELECT
            *,
            arrayFilter(block -> block.type = 'tool_use' AND type = 'assistant' AND is_dated, message.content) AS asked,
            arrayFilter(block -> block.type = 'tool_result' AND type = 'user' AND is_dated, message.content) AS answered,
            arrayMap(block -> JSONExtract(block.input, 'Tuple(file_path String, notebook_path String, command String,
                subagent_type String, content String)'), asked) AS inputs,
            arrayFlatten(arrayMap(patch -> patch.lines, `j.toolUseResult`.structuredPatch)) AS patched,
            `j.type` = 'user' AND empty(message.content) AS is_plain,
            if(is_plain, JSONExtractString(line, 'message', 'content'), '') AS plain_text,
            if(is_plain, plain_text, arrayFirst(block -> block.type = 'text', message.content).text) AS first_text,
            multiIf(
                NOT is_dated, '',
                `j.type` = 'pr-link', 'pull request',
                `j.type` = 'system' AND `j.subtype` = 'compact_boundary', 'compaction',
                `j.type` = 'system' AND `j.subtype` = 'api_error', 'api error',
                `j.type` = 'system' AND `j.subtype` = 'turn_duration', 'turn',
                `j.type` = 'assistant' AND `j.isApiErrorMessage`, 'api error',
                `j.type` != 'user' OR notEmpty(answered) OR (is_plain AND NOT JSONHas(line, 'message')), '',
                startsWith(first_text, '[Request interrupted by user'), 'interruption',
                `j.isMeta` OR `j.isCompactSummary` OR `j.isSidechain`, '',
                match(first_text, '^<command-name>'), 'command',
                match(first_text, '^<(local-command-stdout|local-command-stderr|bash-input|bash-stdout|bash-stderr)>'), '',
                'prompt'
            ) AS kind
        FROM counted
    )
SELECT
    number,
    row,
    `j.type` = '' AND NOT isValidJSON(line) AS is_broken,
    is_relayed,
    is_response,
    kind,
    coalesce(moment, toDateTime64(0, 3, 'UTC')) AS at,
    is_dated,
    is_sidechain,
    private(agent) AS agent_id,
    sipHash64(if(uuid = '', concat(type, ' ', `j.prNumber`, ' ', said_at), uuid)) AS uuid_id,
    if(`j.parentUuid` = '', 0, sipHash64(`j.parentUuid`)) AS parent_id,
    message.id IS NOT NULL AS has_id,
    bitShiftLeft(bitAnd(sipHash64(coalesce(message.id, '')), 0xFFFFFFFFFF), 24)
        + bitAnd(sipHash64(coalesce(request, concat(coalesce(`j.sessionId`, ''), ' ', toString(moment)), '')), 0xFFFFFF)
        AS response_id,
    toUInt32(bitAnd(sipHash64(coalesce(`j.sessionId`, '')), 0xFFFFFFFF)) AS named_session,
    if(
        is_response,
        modelled(concat(coalesce(message.model, ''), if(tokens.speed = 'fast' AND message.model != '<synthetic>', '-fast', ''))),
        ''
    ) AS model,
    extract(coalesce(`j.version`, ''), '^[0-9]{1,4}[.][0-9]{1,4}[.][0-9]{1,6}') AS version,
    listed(`j.gitBranch`, ['main', 'master']) AS branch_id,
    if(has(['', 'none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'], `j.effort`), `j.effort`, 'other') AS effort,
    tokens.input_tokens AS input_tokens,
    tokens.output_tokens AS output_tokens,
    if(tokens.cache_creation = '', tokens.cache_creation_input_tokens, created.1 + created.2) AS cache_creation_tokens,
    created.2 AS cache_1h_tokens,
    tokens.cache_read_input_tokens AS cache_read_tokens,
    tokens.output_tokens_details.thinking_tokens AS thinking_tokens,
    tokens.server_tool_use.web_search_requests AS web_searches,
    tokens.speed IS NOT NULL AS has_speed,
    lengthUTF8(plain_text) + arraySum(block -> lengthUTF8(block.text), message.content) AS text_chars,
    arraySum(block -> lengthUTF8(block.thinking), message.content) AS thinking_chars,
    if(`j.subtype` = 'turn_duration', `j.durationMs`, 0) AS duration_ms,
    greatest(`j.apiErrorStatus`, `j.error`.status) AS api_status,
    multiIf(
        kind != 'compaction', '',
        `j.compactMetadata`.trigger IN ('auto', 'manual'), `j.compactMetadata`.trigger,
        'other'
    ) AS compaction,
    if(kind = 'compaction', `j.compactMetadata`.preTokens, 0) AS compacted_tokens,
    arrayMap(
        (block, input, path) -> (
            sipHash64(block.id),
            if(
                startsWith(block.name, 'mcp__') AND {privacy:String} != 'plain',
                concat('mcp__', arrayStringConcat(arrayMap(part -> private(part), splitByString('__', substring(block.name, 6))), '__')),
                listed(block.name, known_tools)
            ),
            if(block.name = 'Bash', listed_or_other(extract(input.command, '^\\s*(?:[A-Za-z_][A-Za-z0-9_]*=\\S*\\s+)*(\\S+)'), known_programs), ''),
            if(block.name IN ('Task', 'Agent'), listed(input.subagent_type, known_agents), ''),
            if({privacy:String} = 'plain', path, substring(digest(path), 1, 16)),
            if(path = '', '', listed_or_other(lower(extract(path, '[.]([A-Za-z0-9]+)$')), known_extensions)),
            -- the lines of a new file, of which the result has no patch
            if(block.name = 'Write', toUInt32(countSubstrings(input.content, '\n') + (input.content != '' AND NOT endsWith(input.content, '\n'))), 0)
        ),
        asked,
        inputs,
        arrayMap(input -> if(input.file_path != '', input.file_path, input.notebook_path), inputs)
    ) AS uses,
    arrayMap(
        block -> (
            sipHash64(block.tool_use_id),
            multiIf(
                has(['user-rejected', 'cancelled', 'permission-rule'], `j.toolDenialKind`), `j.toolDenialKind`,
                NOT block.is_error, 'ok',
                match(block.content, 'The user doesn.t want to '), 'user-rejected',
                'error'
            ),
            multiIf(
                NOT block.is_error, '',
                match(block.content, 'doesn.t want to |permission|not allowed|denied'), 'permission',
                position(block.content, 'has not been read yet') > 0, 'file not read',
                match(block.content, 'modified since|changed since|unexpectedly modified'), 'file changed',
                match(block.content, 'String to replace not found|not found in file'), 'text not found',
                match(block.content, 'matches of the string|not unique'), 'text not unique',
                match(block.content, '(?i)does not exist|no such file|not found|ENOENT'), 'not found',
                match(block.content, '(?i)InputValidationError|invalid'), 'invalid input',
                match(block.content, '(?i)timed out|timeout'), 'timeout',
                match(block.content, '(?i)too large|exceeds maximum|too long'), 'too large',
                match(block.content, '(?i)interrupted|aborted'), 'interrupted',
                match(block.content, '^(Error: )?Exit code [0-9]+'), 'exit code',
                'other'
            ),
            length(block.content)
        ),
        answered
    ) AS results,
    if(`j.toolUseResult`.type IN ('create', 'update'), `j.toolUseResult`.type, '') AS write_type,
    toUInt32(countEqual(arrayMap(text -> startsWith(text, '+'), patched), 1)) AS lines_added,
    toUInt32(countEqual(arrayMap(text -> startsWith(text, '-'), patched), 1)) AS lines_removed,
    notEmpty(`j.toolUseResult`.structuredPatch) AS has_patch,
    `j.toolUseResult`.file.numLines AS lines_read,
    `j.toolUseResult`.durationMs AS tool_ms,
    `j.toolUseResult`.userModified AS user_modified,
    private(`j.toolUseResult`.agentId) AS spawned_agent,
    `j.toolUseResult`.totalTokens AS agent_tokens
FROM said
SETTINGS max_threads = {threads:UInt8}, optimize_and_compare_chain = 0, query_plan_merge_expressions = 0;

-- name: ccusage_messages
-- Of a response that stands on several lines the one that counts is ccusage's choice: no sidechain, the larger total,
-- one that tells a speed, the first; between files the weight says the same, and the place stands for the path.
-- Responses without an id count each, so where they stand is their id.
WITH
    timed AS
    (
        SELECT
            *,
            lagInFrame(at, 1, at) OVER (
                PARTITION BY number, agent_id ORDER BY row ROWS BETWEEN 1 PRECEDING AND CURRENT ROW
            ) AS line_before,
            greatest(dateDiff('millisecond', line_before, at), 0) AS waited_ms,
            input_tokens + output_tokens + cache_creation_tokens + cache_read_tokens AS total
        FROM reading.lines
        WHERE is_dated AND (is_response OR kind != '' OR notEmpty(uses) OR notEmpty(results))
    ),
    responses AS
    (
        SELECT
            number,
            if(has_id, response_id, sipHash64('', name_id, row)) AS message_id,
            argMax(
                (at, agent_id, is_sidechain, parent_id, model, version, branch_id, effort, input_tokens, output_tokens,
                    cache_creation_tokens, cache_1h_tokens, cache_read_tokens, thinking_tokens, web_searches, named_session),
                (NOT is_sidechain, total, has_speed, -toInt64(row))
            ) AS counted,
            max((NOT is_sidechain, total, has_speed)) AS choice,
            max(at) AS ended_at,
            argMin(waited_ms, row) AS waited_ms,
            dateDiff('millisecond', min(at), ended_at) AS duration_ms,
            sum(text_chars) AS text_chars,
            sum(thinking_chars) AS thinking_chars,
            sum(length(uses)) AS tool_uses,
            count() AS lines
        FROM timed
        INNER JOIN reading.files USING (number)
        WHERE is_response
        GROUP BY number, message_id
    ),
    messages AS
    (
        SELECT
            number,
            message_id,
            'response' AS kind,
            counted.1 AS started_at,
            ended_at,
            counted.2 AS agent_id,
            counted.3 AS is_sidechain,
            counted.4 AS parent_id,
            counted.5 AS model,
            counted.6 AS version,
            counted.7 AS branch_id,
            counted.8 AS effort,
            counted.9 AS input_tokens,
            counted.10 AS output_tokens,
            counted.11 AS cache_creation_tokens,
            counted.12 AS cache_1h_tokens,
            counted.13 AS cache_read_tokens,
            counted.14 AS thinking_tokens,
            counted.15 AS web_searches,
            waited_ms,
            duration_ms,
            text_chars,
            thinking_chars,
            tool_uses,
            0 AS api_status,
            '' AS compaction,
            0 AS compacted_tokens,
            counted.16 AS named_session,
            toUInt64(choice.1) AS rank,
            choice.2 * 2 + choice.3 AS size_rank,
            lines
        FROM responses
        UNION ALL
        SELECT
            number,
            uuid_id,
            kind,
            at,
            at,
            agent_id,
            is_sidechain,
            parent_id,
            '',
            version,
            branch_id,
            effort,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            waited_ms,
            duration_ms,
            text_chars,
            thinking_chars,
            0,
            api_status,
            compaction,
            compacted_tokens,
            named_session,
            toUInt64(NOT is_sidechain),
            0,
            0
        FROM timed
        WHERE kind != '' AND {conversations:Bool}
    )
SELECT
    messages.* EXCEPT (number, rank, size_rank, lines),
    toDate(addSeconds(started_at, {offsets:Array(Int32)}[arrayLastIndex(since -> since <= started_at, {since:Array(DateTime('UTC'))})])) AS date,
    'claude' AS source,
    {machine:String} AS machine_name,
    {user:String} AS user_name,
    session_id,
    project_id,
    bitShiftLeft(toUInt128(rank), 120)
        + bitShiftLeft(toUInt128(least(size_rank, 0xFFFFFFFFFF)), 80)
        + bitShiftLeft(toUInt128(0xFFFFFFFFFFFFFFFF - place), 16)
        + least(lines, 65535) AS weight
FROM messages
INNER JOIN reading.files USING (number);

-- name: ccusage_tool_calls
-- A use and its result are paired within a log by the id of the use alone: results come out of order. What a session's
-- log relays of a sub-agent says less than the sub-agent's own log.
WITH
    asked AS
    (
        SELECT number, row, at, agent_id, is_sidechain, is_relayed, is_response, has_id, response_id, model, use
        FROM reading.lines
        ARRAY JOIN uses AS use
    ),
    uses AS
    (
        SELECT
            number,
            use.1 AS tool_use_id,
            argMin((row, at, agent_id, is_sidechain, is_relayed, is_response AND has_id, response_id, model, use), row) AS asked_in
        FROM asked
        GROUP BY number, tool_use_id
    ),
    answered AS
    (
        SELECT number, row, at, is_relayed, write_type, lines_added, lines_removed, has_patch, lines_read, tool_ms,
            user_modified, spawned_agent, agent_tokens, result
        FROM reading.lines
        ARRAY JOIN results AS result
    ),
    results AS
    (
        SELECT
            number,
            result.1 AS tool_use_id,
            argMin(
                (at, write_type, lines_added, lines_removed, has_patch, lines_read, tool_ms, user_modified, spawned_agent,
                    agent_tokens, result),
                (is_relayed, row)
            ) AS answered_in
        FROM answered
        GROUP BY number, tool_use_id
    )
SELECT
    uses.tool_use_id AS tool_use_id,
    asked_in.9.2 AS tool,
    asked_in.2 AS started_at,
    answered_in.11.1 != 0 AS is_answered,
    is_answered AND answered_in.11.2 = 'ok' AS is_done,
    multiIf(NOT asked_in.6, 0, asked_in.7) AS api_id,
    toDate(addSeconds(started_at, {offsets:Array(Int32)}[arrayLastIndex(since -> since <= started_at, {since:Array(DateTime('UTC'))})])) AS date,
    multiIf(
        NOT is_answered, 0,
        answered_in.7 > 0, answered_in.7,
        greatest(dateDiff('millisecond', started_at, answered_in.1), 0)
    ) AS duration_ms,
    'claude' AS source,
    {machine:String} AS machine_name,
    {user:String} AS user_name,
    session_id,
    project_id,
    asked_in.3 AS agent_id,
    asked_in.8 AS model,
    asked_in.9.3 AS program,
    asked_in.9.4 AS subagent_type,
    answered_in.9 AS spawned_agent,
    if(is_answered, answered_in.11.2, 'running') AS state,
    answered_in.11.3 AS error_kind,
    asked_in.9.5 AS file_id,
    asked_in.9.6 AS extension,
    if(is_done AND tool = 'Write', answered_in.2, '') AS write_type,
    multiIf(NOT is_done, 0, answered_in.5, answered_in.3, asked_in.9.7) AS lines_added,
    if(is_done, answered_in.4, 0) AS lines_removed,
    if(is_done, answered_in.6, 0) AS lines_read,
    answered_in.11.4 AS result_bytes,
    answered_in.8 AS user_modified,
    answered_in.10 AS agent_tokens,
    bitShiftLeft(toUInt128(is_answered), 66)
        + bitShiftLeft(toUInt128(NOT asked_in.5), 65)
        + bitShiftLeft(toUInt128(NOT asked_in.4), 64)
        + (0xFFFFFFFFFFFFFFFF - place) AS weight
FROM uses
LEFT JOIN results USING (number, tool_use_id)
INNER JOIN reading.files USING (number)
WHERE {conversations:Bool};

-- name: moved
-- What is stored of sessions whose folder has got another name, for the logs of theirs that are gone: {moved} tells session,
-- former project and the new one. Among rows of one weight the engine keeps the last.
SELECT former.* EXCEPT project_id, moved.3 AS project_id
FROM
(
    SELECT *
    FROM {table:Identifier} FINAL
    WHERE machine_name = {machine:String} AND user_name = {user:String}
) AS former
INNER JOIN
(
    SELECT arrayJoin({moved:Array(Tuple(String, String, String))}) AS moved
) AS renamed
    ON former.session_id = moved.1 AND former.project_id = moved.2;

-- name: ccusage_log_files
SELECT
    {machine:String} AS machine_name,
    {user:String} AS user_name,
    'claude' AS source,
    file_id,
    name_id,
    session_id,
    project_id,
    size,
    fromUnixTimestamp64Nano(modified) AS modified_at,
    place,
    countIf(lines.number > 0) AS lines,
    countIf(lines.is_broken) AS broken_lines,
    {reader:UInt16} AS reader,
    now64(3) AS read_at
FROM reading.files
LEFT JOIN reading.lines USING (number)
GROUP BY ALL;

-- name: copied_responses
-- ccusage counts a sidechain's response once with what another line of the same message and the same named session
-- says under a request of its own. The engine replaces by key alone, so such copies are looked for in all that is stored.
WITH sidechains AS
(
    SELECT DISTINCT bitShiftRight(message_id, 24)
    FROM ccusage_messages
    WHERE machine_name = {machine:String} AND user_name = {user:String} AND is_sidechain AND kind = 'response'
)
SELECT message_id
FROM
(
    SELECT
        message_id,
        is_sidechain,
        row_number() OVER (PARTITION BY bitShiftRight(message_id, 24), named_session ORDER BY weight DESC) AS rank
    FROM ccusage_messages FINAL
    WHERE machine_name = {machine:String} AND user_name = {user:String} AND kind = 'response'
        AND bitShiftRight(message_id, 24) IN (SELECT * FROM sidechains)
)
WHERE is_sidechain AND rank > 1
ORDER BY message_id;

-- name: totals
-- What was read, for the history of imports, and whether there may be copies of it in two partitions: only so near the end
-- of a quarter that a day of it, in any zone, can be in another one.
SELECT
    uniqExactIf((number, if(has_id, response_id, row)), is_response) + countIf(kind != '' AND {conversations:Bool}) AS messages,
    sumIf(length(uses), {conversations:Bool}) AS tool_calls,
    countIf(is_broken) AS broken_lines,
    max(is_dated AND toStartOfQuarter(at - INTERVAL 3 DAY) != toStartOfQuarter(at + INTERVAL 3 DAY)) AS is_near_a_border
FROM reading.lines;

-- name: message_sums
-- What covered rows are made of: responses by session, project, day, model and hour. Of the copies of one the engine's
-- own choice, the heaviest and of these the last; not by FINAL, which would read all months: 15 ms instead of 300.
SELECT
    session_id,
    project_id,
    date,
    model,
    toUnixTimestamp(toStartOfHour(started_at)) AS hour,
    started_at = toStartOfHour(started_at) AS on_the_hour,
    toUnixTimestamp64Milli(min(started_at)),
    toUnixTimestamp64Milli(max(started_at)),
    count(),
    sum(input_tokens),
    sum(output_tokens),
    sum(cache_creation_tokens),
    sum(cache_read_tokens),
    sum(cache_1h_tokens)
FROM
(
    SELECT *
    FROM ccusage_messages
    WHERE machine_name = {machine:String} AND user_name = {user:String} AND source = 'claude' AND kind = 'response'
        AND started_at >= toDateTime({since:Int64}, 'UTC') AND date + 1 >= toDate(toDateTime({since:Int64}, 'UTC'))
    ORDER BY weight DESC, _block_number DESC
    LIMIT 1 BY message_id
)
WHERE {every:Bool}
    OR date IN {days:Array(Date)}
    OR session_id IN {sessions:Array(String)}
    OR session_id IN
    (
        SELECT session_id
        FROM ccusage_messages
        WHERE machine_name = {machine:String} AND user_name = {user:String} AND source = 'claude' AND kind = 'response'
            AND started_at >= toDateTime({since:Int64}, 'UTC') AND date IN {days:Array(Date)}
    )
GROUP BY ALL;
