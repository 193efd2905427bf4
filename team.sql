-- What an administrator runs for a team: printed by --team-sql and --remove-person, for clickhouse-client.
--
-- Each part may be run again. In braces: {team} is the database over all people's, {person} a name, {database} that
-- person's database, which is the person's user, too; {hash} the SHA-256 of a password; {everywhere} ON CLUSTER, where
-- there is one. Nothing here takes a table away, but `removed`.

-- name: team
-- Roles with what everybody of a kind may do. The limits of a reader are yours to change: they are made once.
CREATE DATABASE IF NOT EXISTS `{team}`{everywhere};

-- A database that holds rows of its own is no team's. RENAME DATABASE makes it a person's.
SELECT throwIf(count() > 0, 'The database {team} holds tables of its own: RENAME DATABASE `{team}` TO `{team}_everybody`, and say --team-sql everybody')
FROM system.tables
WHERE database = '{team}' AND engine LIKE '%MergeTree' AND name IN ({merged})
FORMAT Null;

-- Before October 2025 an engine let a person's own table of engine Buffer reach into everybody's (ClickHouse 87545).
WITH arrayMap(part -> toUInt32OrZero(part), splitByChar('.', version())) AS parts
SELECT throwIf(
    parts < [25, 8, 10] OR (parts >= [25, 9] AND parts < [25, 9, 4]),
    'This server does not keep people apart: a table of engine Buffer shows what its owner has no right on. Update it to the last 25.8, or to 25.10 or newer'
)
FORMAT Null;

CREATE ROLE IF NOT EXISTS `{team}_importer`{everywhere};

-- needed where the server's table_engines_require_grant is set
GRANT{everywhere} TABLE ENGINE ON MergeTree, TABLE ENGINE ON ReplacingMergeTree TO `{team}_importer`;

-- readonly = 2: a reader may set what a query needs, but no limit beyond these. No row has versions in two partitions, so
-- FINAL may look within each alone: dashboards are as quick as the importer's own queries, which set that themselves
CREATE SETTINGS PROFILE IF NOT EXISTS `{team}_reader`{everywhere} SETTINGS
    readonly = 2,
    max_execution_time = 60 MIN 1 MAX 60,
    max_memory_usage = 4000000000 MIN 1 MAX 4000000000,
    max_threads = 4 MIN 1 MAX 8,
    do_not_merge_across_partitions_select_final = 1;

CREATE ROLE IF NOT EXISTS `{team}_reader`{everywhere} SETTINGS PROFILE '{team}_reader';

CREATE QUOTA IF NOT EXISTS `{team}_reader`{everywhere} KEYED BY user_name
    FOR INTERVAL 1 hour MAX queries = 20000, execution_time = 3600
    TO `{team}_reader`;

GRANT{everywhere} SELECT ON `{team}`.* TO `{team}_reader`;

-- so that --check can tell whose rows a reader does not see: Merge leaves them out without a word
GRANT{everywhere} SHOW DATABASES ON `{team}_`*.* TO `{team}_reader`;

USE `{team}`;

-- name: person
-- A person's database and user: all rights on its rows, none on anything else.
CREATE DATABASE IF NOT EXISTS `{database}`{everywhere};

CREATE USER IF NOT EXISTS `{database}`{everywhere} IDENTIFIED WITH sha256_hash BY '{hash}' DEFAULT DATABASE `{database}`;

-- where the user was there, with another password
ALTER USER `{database}`{everywhere} IDENTIFIED WITH sha256_hash BY '{hash}';

GRANT{everywhere} `{team}_importer` TO `{database}`;

GRANT{everywhere} {rights} ON `{database}`.* TO `{database}`;

-- what a newer version adds: tables, views, columns
GRANT{everywhere} {growth_rights} ON `{database}`.* TO `{database}`;

-- --check tries a write and a delete in a table of its own
GRANT{everywhere} DROP TABLE ON `{database}`.ccusage_check_* TO `{database}`;

GRANT{everywhere} SELECT ON `{database}`.* TO `{team}_reader`;

-- name: dashboards
-- Who only reads: everybody's rows, within the limits above.
CREATE USER IF NOT EXISTS `{team}_dashboards`{everywhere} IDENTIFIED WITH sha256_hash BY '{hash}' DEFAULT DATABASE `{team}`;

ALTER USER `{team}_dashboards`{everywhere} IDENTIFIED WITH sha256_hash BY '{hash}';

GRANT{everywhere} `{team}_reader` TO `{team}_dashboards`;

-- name: removed
-- A person who has left: user and rights, the budgets, and every row.
DROP USER IF EXISTS `{database}`{everywhere};

REVOKE{everywhere} SELECT ON `{database}`.* FROM `{team}_reader`;

DELETE FROM `{team}`.{budgets}{everywhere} WHERE user_name = '{person}';

DROP DATABASE IF EXISTS `{database}`{everywhere} SYNC;
