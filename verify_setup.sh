#!/usr/bin/env bash
# Check a setup with a ClickHouse server, with curl alone; change nothing.
#
#   verify_setup.sh           check the server that CH_HOST names
#   verify_setup.sh --help    this text
#
# Tests the connection, the login, the database, its tables with their row counts, its views and columns (as
# ccusage_clickhouse_schema.sql has them), the user's rights (of a team's database: whose rows it shows), the last import of each machine and user, and whether ccusage can be
# run here. One line for each check: ok, FAIL (required), warn (optional) or skip (another check failed that this
# one needs); with a miss goes a fix. Settings are those of the importer: CH_HOST CH_PORT CH_USER CH_PASSWORD CH_DATABASE CH_PROTOCOL CCUSAGE_BIN. With no CH_HOST the
# setup is embedded, and `ccusage_importer.py --check` is run instead.
#
# Exit codes: 0 every required check holds; 1 one does not; 2 wrong usage or configuration.
set -euo pipefail
export LC_ALL=C  # names from outside are bytes
unset CDPATH

readonly OLDEST_ENGINE=25.8
readonly OLDEST_NODE=20
readonly STALE=7200  # seconds: two runs of an hourly job

failed=0 passed=0 warned=0 skipped=0
green='' red='' yellow='' plain=''

# abort CODE WHAT FIX
abort() {
    printf 'error: %s\nfix: %s\n' "$2" "$3" >&2
    exit "$1"
}

usage() {
    awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
}

# ---- what is printed ---------------------------------------------------------------------------------

# A text from outside on one line, without what could steer a terminal.
printable() {
    local text=${1//$'\n'/ }
    printf '%s' "${text//[[:cntrl:]]/?}"
}

# ok WHAT FOUND
ok() {
    ((passed += 1))
    printf '%sok%s    %s: %s\n' "$green" "$plain" "$1" "$(printable "$2")"
}

# fail WHAT FOUND FIX: a required check does not hold
fail() {
    ((failed += 1))
    printf '%sFAIL%s  %s (required): %s\n      fix: %s\n' "$red" "$plain" "$1" "$(printable "$2")" "$3"
}

# warn WHAT FOUND FIX: an optional check does not hold
warn() {
    ((warned += 1))
    printf '%swarn%s  %s (optional): %s\n      fix: %s\n' "$yellow" "$plain" "$1" "$(printable "$2")" "$3"
}

# skip WHAT NEEDED
skip() {
    ((skipped += 1))
    printf '%sskip%s  %s: not tested, needs the %s\n' "$yellow" "$plain" "$1" "$2"
}

use_colour() {
    if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
        green=$'\033[32m' red=$'\033[31m' yellow=$'\033[33m' plain=$'\033[0m'
    fi
}

# ---- configuration, as the importer reads it ---------------------------------------------------------

# The folder of this file, also when it was called through links (readlink -f is not on every macOS).
own_folder() {
    local file=${BASH_SOURCE[0]} target
    while [[ -L $file ]]; do
        target=$(readlink "$file") || return 1
        case $target in
            /*) file=$target ;;
            *) file=$(dirname "$file")/$target ;;
        esac
    done
    cd "$(dirname "$file")" && pwd -P
}

wrong_setting() {
    abort 2 "$1: '$(printable "$2")' is not $3" "set $1 to $3"
}

read_settings() {
    local name='^[A-Za-z0-9._-]+$' address='^\[?[0-9A-Fa-f]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]?$' identifier='^[A-Za-z0-9_][A-Za-z0-9_-]*$'
    host=$CH_HOST
    [[ $host =~ $name || $host =~ $address ]] ||
        wrong_setting CH_HOST "$host" 'a host name or address alone (CH_PORT and CH_PROTOCOL say the rest)'
    protocol=$(printf '%s' "${CH_PROTOCOL:-}" | tr '[:upper:]' '[:lower:]')
    case $protocol in
        http | '') port=8123 ;;
        https) port=8443 ;;
        *) wrong_setting CH_PROTOCOL "$protocol" 'http or https' ;;
    esac
    port=${CH_PORT:-$port}
    [[ $port =~ ^[0-9]+$ && ${#port} -le 5 ]] || wrong_setting CH_PORT "$port" 'a whole number from 1 to 65535'
    port=$((10#$port))
    ((port >= 1 && port <= 65535)) || wrong_setting CH_PORT "$port" 'a whole number from 1 to 65535'
    if [[ -z $protocol ]]; then
        case $port in
            443 | 8443 | 9440) protocol=https ;;
            *) protocol=http ;;
        esac
    fi
    [[ $host != *:* || $host == \[* ]] || host="[$host]"
    user=${CH_USER:-default}
    password=${CH_PASSWORD:-}
    database=${CH_DATABASE:-ccusage}
    # Checked here, in backticks in SQL: no name of a database can become a statement.
    [[ $database =~ $identifier && ${#database} -le 64 ]] ||
        wrong_setting CH_DATABASE "$database" 'a name of letters, digits, _ and -'
    url=$protocol://$host:$port
}

# ---- curl --------------------------------------------------------------------------------------------

# A value in curl's config syntax.
curl_value() {
    local text='' char place
    for ((place = 0; place < ${#1}; place++)); do
        char=${1:place:1}
        case $char in
            $'\n') char='\n' ;;
            $'\r') char='\r' ;;
            $'\t') char='\t' ;;
            $'\v') char='\v' ;;
            \\ | \") char=\\$char ;;
        esac
        text=$text$char
    done
    printf '"%s"' "$text"
}

# ask PATH [SQL]: sets answer, status (HTTP's; 000 without an answer) and seconds; returns curl's exit code.
# Everything goes through curl's standard input: an argument or a variable can be read by others.
ask() {
    local code=0 sql=${2:-} last
    answer=$(
        {
            echo 'silent'
            echo 'show-error'
            echo 'globoff'  # [ and ] around an IPv6 address
            echo 'connect-timeout = 10'
            echo 'max-time = 60'
            printf 'url = %s\n' "$(curl_value "$url$1")"
            # as for the importer, whatever curl's own variables say
            [[ -z ${SSL_CERT_FILE:-} ]] || printf 'cacert = %s\n' "$(curl_value "$SSL_CERT_FILE")"
            printf '%s\n' 'write-out = "\n%{http_code} %{time_total}"'
            if [[ -n $sql ]]; then
                printf 'user = %s\n' "$(curl_value "$user:$password")"
                printf 'data-binary = %s\n' "$(curl_value "$sql")"
            fi
        } | curl --disable --config - 2>&1
    ) || code=$?
    last=${answer##*$'\n'}
    if ((code == 0)); then
        answer=${answer%"$last"}
        answer=${answer%$'\n'}
        answer=${answer%$'\n'}
        status=${last% *} seconds=${last#* }
    else
        # curl's words and write-out's come in any order
        answer=$(printf '%s\n' "$answer" | grep '^curl:' | head -n 1) || answer="curl: exit code $code"
        status=000 seconds=0
    fi
    return "$code"
}

# query SQL: sets answer; returns 1 where it is not the result
query() {
    ask '/?default_format=TabSeparated' "$1" || return 1
    [[ $status == 200 && $answer != *'DB::Exception:'* ]]
}

# What the server said, short: the exception without its stack.
why() {
    local text=$answer
    text=${text#*DB::Exception: }
    [[ -n $text ]] || text="HTTP status $status"
    printf '%s' "${text:0:300}"
}

milliseconds() {
    awk -v seconds="$1" 'BEGIN { printf "%d ms", seconds * 1000 + 0.5 }'
}

# at_least FOUND WANTED: versions of two numbers
at_least() {
    local major=${1%%.*} rest=${1#*.}
    local minor=${rest%%.*}
    ((10#$major > ${2%%.*} || (10#$major == ${2%%.*} && 10#$minor >= ${2#*.})))
}

# ---- the checks of the server ------------------------------------------------------------------------

check_connection() {
    local code=0
    ask /ping || code=$?
    if ((code == 0)) && [[ $status == 200 && $answer == Ok.* ]]; then
        ok connection "$url answered in $(milliseconds "$seconds")"
        return
    fi
    case $code in
        0) fail connection "$url/ping answered with HTTP status $status" \
            'is this the HTTP port of ClickHouse? set CH_PORT (8123, or 8443 with https)' ;;
        6) fail connection "$url: $answer" 'set CH_HOST to a name that this machine can resolve' ;;
        35) fail connection "$url: $answer" 'https on an http port? set CH_PROTOCOL=http, or CH_PORT to the https port' ;;
        60 | 77) fail connection "$url: $answer" 'set SSL_CERT_FILE to the certificate of your authority' ;;
        52 | 56) fail connection "$url: $answer" 'http on an https port? set CH_PROTOCOL=https' ;;
        *) fail connection "$url: $answer" 'start the server, or correct CH_HOST and CH_PORT; is a firewall between?' ;;
    esac
    return 1
}

check_authentication() {
    local version='^[0-9]+\.[0-9]+'
    if ! query 'SELECT version()'; then
        case $status:$answer in
            401:* | 403:* | *AUTHENTICATION_FAILED* | *REQUIRED_PASSWORD*)
                fail authentication "$user: $(why)" 'set CH_USER and CH_PASSWORD' ;;
            *) fail authentication "$user: $(why)" "look into the server's log" ;;
        esac
        return 1
    fi
    ok authentication "logged in as $user"
    if [[ $answer =~ $version ]] && at_least "$answer" "$OLDEST_ENGINE"; then
        ok version "ClickHouse $answer"
    else
        fail version "ClickHouse $answer" "update ClickHouse to $OLDEST_ENGINE or newer"
    fi
}

check_database() {
    local import="python3 -m uv run $root/ccusage_importer.py"
    if ! query "SELECT count() FROM system.databases WHERE name = '$database'"; then
        fail database "$database: $(why)" "GRANT SELECT ON $database.* to $user"
    elif [[ $answer == 0 ]]; then
        fail database "$database is not there, or $user may not see it" "import once ($import), or set CH_DATABASE"
    else
        ok database "$database"
        return
    fi
    return 1
}

# check_relation KIND NAME MODIFIER: it is there and can be read
check_relation() {
    if query "SELECT count() FROM \`$database\`.\`$2\`$3"; then
        ok "$1 $2" "$answer rows"
        return
    fi
    case $answer in
        *UNKNOWN_TABLE* | *'does not exist'*)
            fail "$1 $2" 'is not there' "import once (python3 -m uv run $root/ccusage_importer.py), which makes it" ;;
        *ACCESS_DENIED* | *'Not enough privileges'*) fail "$1 $2" "$(why)" "GRANT SELECT ON $database.* to $user" ;;
        *) fail "$1 $2" "$(why)" "look into the server's log" ;;
    esac
    return 1
}

# relations KIND: the tables or views of the schema file
relations() {
    awk -v created="^CREATE $1 IF NOT EXISTS " '$0 ~ created { print $6 }' "$schema"
}

# The columns of the schema file's tables: table, column and type, as the engine's system.columns has them.
columns() {
    awk -v OFS='\t' '
        /^CREATE / { table = $2 == "TABLE" ? $6 : "" }
        /^\)/ { table = "" }
        table != "" && /^ +`?[a-z][a-z_0-9]*`? / {
            name = $1
            gsub(/`/, "", name)
            sub(/^ +[^ ]+ +/, "")
            sub(/ +(DEFAULT|COMMENT|CODEC).*/, "")
            sub(/,$/, "")
            print table, name, $0
        }' "$schema"
}

# Whether the tables that are there have the columns of the schema file, with its types. Others do no harm.
check_columns() {
    local found
    if ! query "SELECT table, name, type FROM system.columns WHERE database = '$database' FORMAT TSVRaw"; then
        fail columns "$(why)" "look into the server's log"
        return
    fi
    found=$(awk -F '\t' '
        { name = $1 "." $2 }
        from == "server" { type[name] = $3; there[$1] = 1; next }
        !there[$1] { next }  # told by its own check
        !(name in type) { print name " is missing"; next }
        type[name] != $3 { print name " is " type[name] ", not " $3 }
    ' from=server - from=file <(columns) <<<"$answer")
    case $found in
        '') ok columns "$(columns | awk 'END { print NR }') as in the schema file" ;;
        *', not '*) fail columns "$found" 'they were changed by hand: give them back the types of the schema file' ;;
        *) warn columns "$found" "the next import adds them (python3 -m uv run $root/ccusage_importer.py)" ;;
    esac
}

# granted RIGHT WHAT: whether the user has it, without trying
granted() {
    query "CHECK GRANT $1 ON $2" && [[ $answer == 1 ]]
}

# What the user may not do, of what imports need and of what a newer version does. Optional: who only reads needs neither.
check_rights() {
    local right lacking=''
    for right in SELECT INSERT 'ALTER UPDATE' 'ALTER DELETE' 'CREATE TABLE' 'CREATE VIEW' 'DROP VIEW' 'ALTER ADD COLUMN'; do
        granted "$right" "\`$database\`.*" || lacking="${lacking:+$lacking, }$right"
    done
    if [[ -z $lacking ]]; then
        ok rights 'all that an import needs, and an update'
    else
        warn rights "$user has no $lacking" "GRANT $lacking ON \`$database\`.* TO \`$user\`"
    fi
}

# Whose rows a team's database shows: Merge leaves out without a word what the user may not read.
check_team() {
    local name seen='' unseen=''
    if ! query "SELECT name FROM system.databases WHERE startsWith(name, '${database}_') ORDER BY name"; then
        fail people "$(why)" "look into the server's log"
        return
    fi
    for name in $answer; do
        if granted SELECT "\`$name\`.*"; then seen="${seen:+$seen, }$name"; else unseen="${unseen:+$unseen, }$name"; fi
    done
    if [[ -z $seen ]]; then
        fail people "$user sees the rows of nobody" "GRANT \`${database}_reader\` TO \`$user\`"
    elif [[ -n $unseen ]]; then
        warn people "$user sees the rows of $seen; not of $unseen" "GRANT \`${database}_reader\` TO \`$user\`"
    else
        ok people "$user sees the rows of $seen"
    fi
}

# A team's database has Merge tables.
is_team() {
    query "SELECT engine FROM system.tables WHERE database = '$database' AND name = 'ccusage_usage_daily'" &&
        [[ $answer == Merge ]]
}

age() {
    if (($1 < 120)); then
        echo "$1 s ago"
    elif (($1 < 7200)); then
        echo "$(($1 / 60)) min ago"
    elif (($1 < 172800)); then
        echo "$(($1 / 3600)) h ago"
    else
        echo "$(($1 / 86400)) days ago"
    fi
}

# The last import of each machine and user. Optional: a laptop may sleep, a machine may be gone for good.
check_freshness() {
    local rows machine person moment result seconds_ago what found
    if ! query "SELECT machine_name, user_name, max(import_timestamp), argMax(status, import_timestamp),
                       dateDiff('second', max(import_timestamp), now())
                FROM \`$database\`.ccusage_import_history FINAL
                GROUP BY machine_name, user_name ORDER BY machine_name, user_name"; then
        fail freshness "$(why)" "look into the server's log"
        return
    fi
    rows=$answer
    if [[ -z $rows ]]; then
        warn freshness 'nothing was ever imported' "python3 -m uv run $root/ccusage_importer.py"
        return
    fi
    while IFS=$'\t' read -r machine person moment result seconds_ago; do
        what=$(printable "freshness of $machine, $person")
        found="last import $moment UTC, $result, $(age "$seconds_ago")"
        if [[ $result != completed ]]; then
            warn "$what" "$found" "run the importer there and read what it says"
        elif ((seconds_ago > STALE)); then
            warn "$what" "$found" "run it hourly there: setup_cronjob.sh; is it installed? setup_cronjob.sh --status"
        else
            ok "$what" "$found"
        fi
    done <<<"$rows"
}

check_server() {
    local name missing_history=''
    if ! type -P curl >/dev/null; then
        fail curl 'is not on the PATH' 'install it (Debian: apt-get install curl)'
        skip_rest curl authentication
    elif ! check_connection; then
        skip_rest connection authentication
    elif ! check_authentication; then
        skip_rest authentication database
    elif ! check_database; then
        skip_rest database tables
    else
        for name in $(relations TABLE); do
            check_relation table "$name" ' FINAL' || [[ $name != *_history ]] || missing_history=yes
        done
        for name in $(relations VIEW); do
            check_relation view "$name" '' || true
        done
        check_columns
        if is_team; then check_team; else check_rights; fi
        if [[ -n $missing_history ]]; then
            skip freshness 'table ccusage_import_history'
        else
            check_freshness
        fi
    fi
}

# skip_rest NEEDED FIRST: the checks from FIRST on
skip_rest() {
    local name from=''
    for name in authentication database tables views columns rights freshness; do
        [[ $name != "$2" ]] || from=yes
        [[ -z $from ]] || skip "$name" "$1"
    done
}

# ---- ccusage -----------------------------------------------------------------------------------------

# The version that a ccusage says it is; fails where it does not start.
version_of() {
    local words number='[0-9]+\.[0-9]+\.[0-9]+[^[:space:]]*'
    words=$("$1" --version 2>&1 </dev/null) && [[ $words =~ $number ]] && printf '%s' "${BASH_REMATCH[0]}"
}

# The same order as the importer's: CCUSAGE_BIN, ccusage on the PATH, bunx, npx.
check_ccusage() {
    local chosen=${CCUSAGE_BIN:-} found version
    if [[ -n $chosen ]]; then
        [[ $chosen != \~/* ]] || chosen=$HOME/${chosen#??}
        if ! found=$(type -P -- "$chosen"); then
            fail ccusage "CCUSAGE_BIN: $chosen is no program" 'set CCUSAGE_BIN to the ccusage to run, or unset it'
        elif ! version=$(version_of "$found"); then
            fail ccusage "CCUSAGE_BIN: $found does not say its version" "run $found --version and read what it says"
        else
            ok ccusage "$version by CCUSAGE_BIN, $found"
        fi
        return
    fi
    if found=$(type -P ccusage); then
        if version=$(version_of "$found") && is_wanted "$version"; then
            ok ccusage "$version on the PATH, $found"
            return
        fi
        warn 'ccusage on the PATH' "$found (${version:-does not start}) is passed over" \
            'install ccusage 15 to 20, or of CCUSAGE_VERSION, or let bunx or npx fetch it'
    fi
    if found=$(type -P bunx); then
        ok ccusage "bunx will fetch it, $found"
    elif found=$(type -P npx); then
        ok ccusage "npx will fetch it, $found"
    else
        fail ccusage 'ccusage, bunx and npx are not on the PATH' \
            'install Node 20 or newer with npx, or bun, or set CCUSAGE_BIN'
    fi
}

is_wanted() {
    ((${1%%.*} >= 15 && ${1%%.*} <= 20)) &&
        [[ ${CCUSAGE_VERSION:-latest} == latest || $CCUSAGE_VERSION == "$1" ]]
}

check_node() {
    local found version
    if ! found=$(type -P node); then
        warn node 'is not on the PATH' "ccusage from npm needs Node $OLDEST_NODE or newer; bun and native binaries do not"
    elif ! version=$(version_of "$found"); then
        warn node "$found does not start" "install Node $OLDEST_NODE or newer"
    elif ((${version%%.*} < OLDEST_NODE)); then
        warn node "$version, $found" "update Node to $OLDEST_NODE or newer"
    else
        ok node "$version, $found"
    fi
}

# ---- the actions -------------------------------------------------------------------------------------

check_embedded() {
    echo "CH_HOST is not set: the setup is embedded. Running ccusage_importer.py --check"
    local uv=uv
    # `python3 -m pip install uv` may have put it where no PATH leads
    type -P uv >/dev/null || uv=$(python3 -c 'import uv; print(uv.find_uv_bin())' 2>/dev/null) ||
        abort 1 'uv is not installed' 'PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install uv'
    exec "$uv" run --project "$root" "$root/ccusage_importer.py" --check
}

main() {
    local root schema host port protocol user password database url answer='' status=000 seconds=0
    case ${1:-} in
        '') ;;
        --help | -h) usage && return ;;
        *) abort 2 "unknown argument '$1'" "see $0 --help" ;;
    esac
    root=$(own_folder) && [[ -r $root/ccusage_importer.py ]] ||
        abort 1 "ccusage_importer.py is not beside $0" "call verify_setup.sh in the folder of ccusage-importer"
    [[ -n ${CH_HOST:-} ]] || check_embedded
    schema=$root/ccusage_clickhouse_schema.sql
    [[ -r $schema ]] || abort 1 "$schema is not there" 'install ccusage-importer again'
    read_settings
    export -n CH_PASSWORD PROJECT_HASH_KEY  # no program started here needs them
    use_colour
    check_server
    check_ccusage
    check_node
    printf '%d ok, %d failed, %d warnings, %d not tested\n' "$passed" "$failed" "$warned" "$skipped"
    ((failed == 0))
}

main "$@"
