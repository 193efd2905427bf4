#!/usr/bin/env bash
# Run the importer every hour: install, show or remove one cron job of yours.
#
#   setup_cronjob.sh                            install the job; again: replace it, and nothing else
#   setup_cronjob.sh --schedule '*/30 * * * *'  the same with another rhythm than hourly
#   setup_cronjob.sh --remove                   take the job out, with the files that belong to it
#   setup_cronjob.sh --status                   show the job (exit code 1 where there is none)
#   setup_cronjob.sh --print [cron]             show the crontab's lines, change nothing (also --dry-run)
#   setup_cronjob.sh --print systemd            show a systemd user service and timer instead
#   setup_cronjob.sh --print launchd            show a launchd property list instead
#   setup_cronjob.sh --save-settings            write the job's files alone, for systemd or launchd
#   setup_cronjob.sh --help                     this text
#
# The minute is drawn from the host's name, so that many machines do not all arrive at once. What is set now
# of CH_HOST, CH_PASSWORD and the other settings goes to ${XDG_CONFIG_HOME:-~/.config}/ccusage-importer/cron.env,
# which only you can read, and nowhere else; install again after a change of settings. The job writes to
# ${XDG_STATE_HOME:-~/.local/state}/ccusage-importer/import.log. `--print systemd-service` and
# `--print systemd-timer` show one of the two files of systemd.
#
# Exit codes: 0 done; 1 failed, your crontab is as it was; 2 wrong usage.
set -euo pipefail
export LC_ALL=C  # crontab's messages are compared, and paths are bytes
unset CDPATH

readonly MARKER='# ccusage-importer: this line and the next belong to setup_cronjob.sh (--remove takes them out)'
readonly JOB_NAME='ccusage-importer/cron-job.sh'  # how the job's own line is told from others
readonly LABEL='ccusage-importer'

# What may lead the importer, ccusage, uv or Node somewhere else than the defaults do. HOME and PATH aside.
readonly SETTINGS='
CH_HOST CH_PORT CH_USER CH_PASSWORD CH_DATABASE CH_PROTOCOL CH_CLUSTER
MACHINE_NAME CCUSAGE_USER HASH_PROJECT_NAMES PROJECT_HASH_KEY
CCUSAGE_BIN CCUSAGE_VERSION CCUSAGE_TIMEOUT CCUSAGE_WORKERS CCUSAGE_TIMEZONE CCUSAGE_OFFLINE CCUSAGE_DB_PATH
CCUSAGE_BUDGET_DAY CCUSAGE_BUDGET_MONTH CCUSAGE_CONVERSATIONS CCUSAGE_EXPORT
XDG_DATA_HOME XDG_STATE_HOME XDG_CONFIG_HOME XDG_CACHE_HOME
CLAUDE_CONFIG_DIR CODEX_HOME OPENCODE_DATA_DIR AMP_DATA_DIR DROID_SESSIONS_DIR CODEBUFF_DATA_DIR HERMES_HOME
PI_AGENT_DIR GOOSE_PATH_ROOT OPENCLAW_DIR KILO_DATA_DIR KIMI_DATA_DIR QWEN_DATA_DIR GEMINI_DATA_DIR
COPILOT_HOME COPILOT_OTEL_FILE_EXPORTER_PATH GROK_HOME ZCODE_HOME
SSL_CERT_FILE SSL_CERT_DIR NODE_EXTRA_CA_CERTS TZ
http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY
UV_CACHE_DIR UV_PROJECT_ENVIRONMENT UV_PYTHON UV_PYTHON_INSTALL_DIR UV_CONFIG_FILE UV_DEFAULT_INDEX UV_INDEX
UV_INDEX_URL UV_EXTRA_INDEX_URL UV_NATIVE_TLS UV_SYSTEM_CERTS UV_LINK_MODE UV_OFFLINE
npm_config_cache npm_config_userconfig npm_config_registry NPM_CONFIG_CACHE NPM_CONFIG_USERCONFIG NPM_CONFIG_REGISTRY
VOLTA_HOME ASDF_DIR ASDF_DATA_DIR MISE_DATA_DIR PYENV_ROOT PYENV_VERSION NODENV_ROOT BUN_INSTALL'

# The job needs the first or CCUSAGE_BIN; the shims of the last ones call them by name.
readonly TOOLS='uv node npx bunx bun ccusage volta asdf mise fnm pyenv nodenv'

scratch=''      # a folder of our own, gone at the end
unfinished=''   # a file being written

clean_up() {
    [[ -z $unfinished ]] || rm -f -- "$unfinished"
    [[ -z $scratch ]] || rm -rf -- "$scratch"
}

# abort CODE WHAT FIX
abort() {
    printf 'error: %s\nfix: %s\n' "$2" "$3" >&2
    exit "$1"
}

usage() {
    awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
}

# ---- where things are --------------------------------------------------------------------------------

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

# A path that a crontab, a unit or a property list could not hold, or that means another place from cron.
require_path() {
    case $2 in
        *$'\n'*) abort 2 "$1 has a line break in it" "use another folder" ;;
        /*) ;;
        *) abort 2 "$1: '$2' is not an absolute path, and cron starts elsewhere" "give the whole path" ;;
    esac
}

find_places() {
    [[ -n ${HOME:-} ]] || abort 2 "HOME is not set" "set HOME to your home folder"
    root=$(own_folder) && [[ -r $root/ccusage_importer.py ]] ||
        abort 1 "ccusage_importer.py is not beside $0" "call setup_cronjob.sh in the folder of ccusage-importer"
    config=${XDG_CONFIG_HOME:-$HOME/.config}/ccusage-importer
    log=${XDG_STATE_HOME:-$HOME/.local/state}/ccusage-importer/import.log
    require_path HOME "$HOME"
    require_path "the folder of setup_cronjob.sh" "$root"
    require_path XDG_CONFIG_HOME "$config"
    require_path XDG_STATE_HOME "$log"
    settings_file=$config/cron.env
    runner=$config/${JOB_NAME##*/}
}

# Cron starts in another folder: a relative path would silently become another one.
require_absolute_settings() {
    local name value part parts
    for name in $SETTINGS; do
        value=${!name-}
        [[ -n $value ]] || continue
        case $name in
            *_DIR | *_HOME | *_PATH | *_ROOT | *_FILE | *_ENVIRONMENT | CCUSAGE_EXPORT | NODE_EXTRA_CA_CERTS) ;;
            npm_config_*config | npm_config_cache | NPM_CONFIG_*CONFIG | NPM_CONFIG_CACHE) ;;
            CCUSAGE_BIN) [[ $value == */* ]] || continue ;;
            *) continue ;;
        esac
        parts=("$value")
        case $name in
            XDG_* | CCUSAGE_*) ;;
            *) IFS=, read -r -a parts <<<"$value" ;; # an agent's logs may be in several folders
        esac
        for part in "${parts[@]}"; do
            case ${part# } in
                '' | /* | '~'*) ;;
                *) abort 2 "$name: '$part' is not an absolute path, and cron starts elsewhere" "give the whole path" ;;
            esac
        done
    done
}

# The folder in which a program is found; empty where it is not.
folder_of() {
    local file
    file=$(type -P -- "$1") || return 0
    case $file in
        # fnm makes this folder for one shell; what it links to stays
        */fnm_multishells/*) cd -P "$(dirname "$file")" && pwd -P ;;
        *) cd "$(dirname "$file")" && pwd -L ;;
    esac
}

# The PATH for the job: the folders of the tools in the order of now, so that the same ones win.
job_path() {
    local folders=: tool folder entry ordered=''
    for tool in $TOOLS; do
        folder=$(folder_of "$tool")
        [[ -z $folder ]] || folders=$folders$folder:
    done
    case ${CCUSAGE_BIN:-/} in
        */*) ;;
        *) folders=$folders$(folder_of "$CCUSAGE_BIN"): ;;
    esac
    while IFS= read -r -d : entry; do
        entry=$(cd "${entry:-.}" 2>/dev/null && pwd -L) || continue
        case $ordered: in *:"$entry":*) continue ;; esac
        case $folders in *:"$entry":*) ordered=$ordered:$entry ;; esac
    done <<<"$PATH:"
    while IFS= read -r -d : entry; do  # what stood in the PATH under another name
        case :$ordered: in *:"$entry":* | :*::) ;; *) [[ -z $entry ]] || ordered=$ordered:$entry ;; esac
    done <<<"$folders"
    for entry in /usr/local/bin /usr/bin /bin; do
        case $ordered: in *:"$entry":*) ;; *) ordered=$ordered:$entry ;; esac
    done
    printf '%s' "${ordered#:}"
}

# `python3 -m pip install uv` may have put it where no PATH leads.
find_uv() {
    local program
    if [[ -z $(folder_of uv) ]] && program=$(python3 -c 'import uv; print(uv.find_uv_bin())' 2>/dev/null); then
        PATH=$PATH:${program%/*}
    fi
}

# A folder that goes away with an update: a version in its name, or a store of versions.
is_tied_to_a_version() {
    local version='/(v[0-9]+(\.[0-9]+)*|[0-9]+\.[0-9]+[^/]*)(/|$)'
    [[ $1 =~ $version || $1 == */Cellar/* || $1 == */fnm_multishells/* || $1 == /nix/store/* || $1 == */_npx/* ]]
}

tell_what_may_disappear() {
    local tool folder
    for tool in uv node npx bunx ccusage; do
        folder=$(folder_of "$tool")
        if [[ -n $folder ]] && is_tied_to_a_version "$folder"; then
            echo "note: $tool is in $folder, which goes away with that version: run this script again when you change it"
        fi
    done
    if [[ -z ${CCUSAGE_BIN:-} && -z $(folder_of ccusage)$(folder_of bunx)$(folder_of npx) ]]; then
        echo "note: ccusage, bunx and npx are not on the PATH: the job will not find ccusage; install Node and run this again"
    fi
}

# ---- words for other programs ------------------------------------------------------------------------

# One word for any shell: in single quotes, whatever the value is.
shell_word() {
    local rest=$1 done=''
    while [[ $rest == *\'* ]]; do
        done=$done${rest%%\'*}"'\\''"
        rest=${rest#*\'}
    done
    printf "'%s'" "$done$rest"
}

unit_word() {
    printf '%s' "$1" | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/%/%%/g' -e 's/\$/$$/g' -e 's/^/"/' -e 's/$/"/'
}

xml_text() {
    printf '%s' "$1" | sed -e 's/&/\&amp;/g' -e 's/</\&lt;/g' -e 's/>/\&gt;/g'
}

# ---- the schedule ------------------------------------------------------------------------------------

# The same minute on every run, another one on another host.
minute_of_host() {
    local sum
    sum=$(uname -n | cksum)
    printf '%d' $((${sum%% *} % 60))
}

wrong_schedule() {
    abort 2 "--schedule: $1" "give five fields as in crontab(5), such as '*/30 * * * *'"
}

# expand_field NAME FIELD LOW HIGH: the numbers that a field of a schedule means, one a line, or *
expand_field() {
    local number='[0-9][0-9]?' items item range first last step
    local any="((\\*|$number-$number)(/$number)?|$number)"
    local pattern="^$any(,$any)*\$"
    if [[ $2 == '*' ]]; then
        echo '*'
        return
    fi
    [[ $2 =~ $pattern ]] || wrong_schedule "'$2' is not a $1"
    IFS=, read -r -a items <<<"$2"
    for item in "${items[@]}"; do
        range=${item%%/*}
        step=1
        [[ $item != */* ]] || step=$((10#${item##*/}))
        [[ $range != '*' ]] || range=$3-$4
        first=$((10#${range%%-*}))
        last=$((10#${range##*-}))
        ((step > 0 && first >= $3 && first <= last && last <= $4)) || wrong_schedule "'$item' is not a $1 ($3 to $4)"
        for ((; first <= last; first += step)); do
            echo "$first"
        done
    done | sort -n -u
}

check_schedule() {
    local names='^[A-Za-z][A-Za-z][A-Za-z]([-,][A-Za-z][A-Za-z][A-Za-z])*$' extra
    case $schedule in
        *$'\n'* | *$'\r'*) wrong_schedule "has a line break in it" ;;
        *%*) wrong_schedule "has a % in it" ;;
    esac
    IFS=$' \t' read -r minute hour day month weekday extra <<<"$schedule"
    [[ -n $weekday && -z $extra ]] || wrong_schedule "'$schedule' does not have five fields"
    schedule="$minute $hour $day $month $weekday"
    minutes=$(expand_field minute "$minute" 0 59) || exit $?
    hours=$(expand_field hour "$hour" 0 23) || exit $?
    expand_field 'day of a month' "$day" 1 31 >/dev/null || exit $?
    [[ $month =~ $names ]] || expand_field month "$month" 1 12 >/dev/null || exit $?
    [[ $weekday =~ $names ]] || expand_field 'day of a week' "$weekday" 0 7 >/dev/null || exit $?
}

# The other schedulers count otherwise where days are chosen; nobody is to get a timer that means another day.
require_hours_and_minutes() {
    [[ "$day $month $weekday" == '* * *' ]] ||
        abort 2 "--schedule: days, months and weekdays are translated for cron alone" \
            "print it without --schedule and edit what is printed"
}

# ---- what is printed ---------------------------------------------------------------------------------

# In a crontab % is a line break, and some crons eat a backslash: a job there is to be what it looks like.
require_plain_runner() {
    case $runner in
        *[%\\\']*) abort 2 "$config cannot stand in a crontab: it has a %, a ' or a backslash in it" \
            "set XDG_CONFIG_HOME to another folder" ;;
    esac
}

print_cron() {
    require_plain_runner
    printf "%s\n%s '%s'\n" "$MARKER" "$schedule" "$runner"
}

print_systemd_service() {
    cat <<UNIT
[Unit]
Description=Import what ccusage reports
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart=/bin/sh $(unit_word "$runner")
UNIT
}

print_systemd_timer() {
    require_hours_and_minutes
    cat <<UNIT
[Unit]
Description=Import what ccusage reports, on schedule

[Timer]
OnCalendar=*-*-* $(printf '%s' "$hours" | tr '\n' ','):$(printf '%s' "$minutes" | tr '\n' ','):00
Persistent=true

[Install]
WantedBy=timers.target
UNIT
}

print_systemd() {
    local units=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user service timer
    service=$(print_systemd_service)
    timer=$(print_systemd_timer) || exit $?
    printf '# %s/%s.service\n%s\n\n# %s/%s.timer\n%s\n' "$units" "$LABEL" "$service" "$units" "$LABEL" "$timer"
}

print_launchd() {
    require_hours_and_minutes
    cat <<PLIST
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
    <key>Label</key>
    <string>$LABEL</string>
    <key>ProgramArguments</key>
    <array>
        <string>/bin/sh</string>
        <string>$(xml_text "$runner")</string>
    </array>
    <key>StartCalendarInterval</key>
    <array>
$(print_launchd_times)
    </array>
</dict>
</plist>
PLIST
}

# One entry for each hour and minute; a key that is not there means every one.
print_launchd_times() {
    local hour minute
    while read -r hour; do
        while read -r minute; do
            printf '        <dict>'
            [[ $hour == '*' ]] || printf '<key>Hour</key><integer>%d</integer>' "$hour"
            [[ $minute == '*' ]] || printf '<key>Minute</key><integer>%d</integer>' "$minute"
            printf '</dict>\n'
        done <<<"$minutes"
    done <<<"$hours"
}

# Where there is no crontab: what to paste instead.
tell_other_ways() {
    local self units
    self=$(shell_word "$root/setup_cronjob.sh")
    units=$(shell_word "${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user")
    echo 'error: there is no crontab program on the PATH' >&2
    if [[ $(uname -s) == Darwin ]]; then
        cat >&2 <<TEXT
fix: let launchd start it, by pasting
    $self --save-settings
    $self --print launchd > ~/Library/LaunchAgents/$LABEL.plist
    launchctl load ~/Library/LaunchAgents/$LABEL.plist
TEXT
    else
        cat >&2 <<TEXT
fix: install cron (Debian: apt-get install cron), or let systemd start it, by pasting
    $self --save-settings
    mkdir -p $units
    $self --print systemd-service > $units/$LABEL.service
    $self --print systemd-timer > $units/$LABEL.timer
    systemctl --user daemon-reload && systemctl --user enable --now $LABEL.timer
    loginctl enable-linger    # so that it runs while you are logged out
(on macOS: --print launchd)
TEXT
    fi
    exit 1
}

# ---- the job's files ---------------------------------------------------------------------------------

settings_lines() {
    local name
    echo '# What the hourly import is told. Written by setup_cronjob.sh, which replaces it; holds secrets.'
    for name in $SETTINGS; do
        if [[ -n ${!name+set} ]]; then
            printf 'export %s=' "$name"
            shell_word "${!name}"
            echo
        fi
    done
}

# Cron takes HOME from the user database and knows nothing of PATH: both are those of the installation.
runner_lines() {
    local again
    again=$(shell_word "fix: run $root/setup_cronjob.sh again")
    cat <<RUNNER
#!/bin/sh
# The hourly import. Written by setup_cronjob.sh, which replaces it.
umask 077
HOME=$(shell_word "$HOME")
PATH=$(shell_word "$(job_path)")
export HOME PATH
uv=$(shell_word "$(folder_of uv)/uv")
script=$(shell_word "$root/ccusage_importer.py")
for needed in $(shell_word "$settings_file") "\$uv" "\$script"; do
    if [ ! -r "\$needed" ]; then
        printf 'error: %s is not there any more\n%s\n' "\$needed" $again >&2
        exit 1
    fi
done
. $(shell_word "$settings_file")
cd "\$HOME" || exit 1
mkdir -p $(shell_word "${log%/*}")
# the installed command: of a script Python compiles all lines in each run, 0.13 s
exec "\$uv" run --quiet --project $(shell_word "$root") ccusage-importer --quiet --log-file $(shell_word "$log")
RUNNER
}

# save_file PATH MODE COMMAND: what the command prints, all of it or nothing, and never readable by others
save_file() {
    unfinished=$(mktemp "$1.XXXXXX")
    "$3" >"$unfinished"
    chmod "$2" "$unfinished"
    mv -f -- "$unfinished" "$1"
    unfinished=''
}

save_settings() {
    find_uv
    [[ -n $(folder_of uv) ]] || abort 1 "uv is not installed" "PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install uv"
    require_absolute_settings
    mkdir -p -- "$config"
    save_file "$settings_file" 600 settings_lines
    save_file "$runner" 700 runner_lines
}

# remove_files FOLDER: what save_settings wrote there; the folder only when nothing else is in it
remove_files() {
    rm -f -- "$1/${settings_file##*/}" "$1/${runner##*/}"
    rmdir -- "$1" 2>/dev/null || true
}

# ---- the crontab -------------------------------------------------------------------------------------

# The crontab as it is now, in file $1. A crontab that cannot be read is not an empty one: then nothing may be
# written, or the user's jobs are gone.
read_crontab() {
    local code=0 words
    { crontab -l >"$1" 2>"$scratch/words" || code=$?; } 2>/dev/null  # bash's own word when it is killed
    words=$(cat "$scratch/words")
    if ((code == 0)) && [[ -z $words ]]; then
        return
    fi
    case $words in
        *$'\n'*) ;;
        'no crontab for '* | 'crontab: no crontab for '*) ((code != 1)) || [[ -s $1 ]] || return 0 ;;
    esac
    abort 1 "your crontab cannot be read (crontab -l: exit code $code${words:+, ${words//$'\n'/; }})" \
        "make 'crontab -l' work; your crontab was not touched"
}

write_crontab() {
    local words
    if [[ -s $1 ]]; then
        words=$(crontab "$1" 2>&1) && return
    elif [[ -s $scratch/before ]]; then
        words=$(crontab -r 2>&1) && return
    else
        return 0
    fi
    [[ ${2:-} != fresh ]] || remove_files "$config"
    abort 1 "crontab refused the change${words:+: $words}" "see crontab(1), cron.allow and cron.deny; your crontab is as it was"
}

is_own_job() {
    [[ $1 == *"/$JOB_NAME"* ]]
}

# rewrite_crontab [BLOCK]: standard input without our own lines; the block takes their place, or the end.
# The line after the marker goes only if it is ours: who deleted it by hand may have another job there.
rewrite_crontab() {
    local block=${1:-} line newline=$'\n' after_marker=''
    while IFS= read -r line || { [[ -n $line ]] && newline=''; }; do
        if [[ $line == "$MARKER" ]]; then
            [[ -z $block ]] || printf '%s\n' "$block"
            block=''
            after_marker=yes
            continue
        fi
        if [[ -z $after_marker ]] || ! is_own_job "$line"; then
            printf '%s%s' "$line" "$newline"
        fi
        after_marker=''
    done
    if [[ -n $block ]]; then
        [[ -n $newline ]] || echo
        printf '%s\n' "$block"
    fi
}

# The line of our job in a crontab; empty where there is none.
own_line() {
    local line after_marker=''
    while IFS= read -r line || [[ -n $line ]]; do
        if [[ -n $after_marker ]] && is_own_job "$line"; then
            printf '%s' "$line"
            return
        fi
        after_marker=''
        [[ $line != "$MARKER" ]] || after_marker=yes
    done <"$1"
}

# replace_block BLOCK [fresh]: put it into the crontab, read it back, compare
replace_block() {
    rewrite_crontab "$1" <"$scratch/before" >"$scratch/wanted"
    cmp -s "$scratch/before" "$scratch/wanted" && return
    write_crontab "$scratch/wanted" "${2:-}"
    read_crontab "$scratch/after"
    cmp -s "$scratch/wanted" "$scratch/after" && return
    (umask 077 && mkdir -p -- "$config" && cp -- "$scratch/before" "$config/crontab.before")
    abort 1 "the crontab is not what was written: another program changed it, or crontab did" \
        "compare 'crontab -l' with $config/crontab.before, which is how it was"
}

# The folder of the job's files as the crontab says: XDG_CONFIG_HOME may have been another one then.
former_folder() {
    local file=${1#*\'}
    file=${file%\'*}
    [[ $file != /*/"$JOB_NAME" ]] || printf '%s' "${file%/*}"
}

have_crontab() {
    type -P crontab >/dev/null
}

tell_if_no_daemon() {
    [[ $(uname -s) != Darwin ]] || return 0  # launchd starts cron there when there is a crontab
    type -P ps >/dev/null || return 0
    local daemon='(^|[/[:space:]])(cron|crond|fcron)([[:space:]]|$)'
    if ! [[ $(ps -e -o comm=) =~ $daemon ]]; then
        echo 'note: no cron daemon seems to run here: start it (service cron start, or systemctl start cron)'
    fi
}

# ---- the actions -------------------------------------------------------------------------------------

install_job() {
    local former fresh=''
    have_crontab || tell_other_ways
    require_plain_runner
    read_crontab "$scratch/before"
    former=$(former_folder "$(own_line "$scratch/before")")
    [[ -n $former || -e $settings_file ]] || fresh=fresh
    save_settings
    replace_block "$(print_cron)" "$fresh"
    [[ -z $former || $former == "$config" ]] || remove_files "$former"
    echo "installed: $schedule '$runner'"
    echo "settings:  $settings_file"
    echo "log:       $log"
    tell_what_may_disappear
    tell_if_no_daemon
}

remove_job() {
    local line='' former=''
    if have_crontab; then
        read_crontab "$scratch/before"
        line=$(own_line "$scratch/before")
        former=$(former_folder "$line")
        replace_block ''
    fi
    [[ -z $former ]] || remove_files "$former"
    remove_files "$config"
    if [[ -n $line ]]; then
        echo "removed: $line"
    else
        echo 'there was no job in the crontab'
    fi
}

show_status() {
    local line='' folder
    if have_crontab; then
        read_crontab "$scratch/before"
        line=$(own_line "$scratch/before")
    fi
    if [[ -z $line ]]; then
        echo 'not installed: there is no job in the crontab'
        exit 1
    fi
    echo "installed: $line"
    folder=$(former_folder "$line")
    if [[ -r $folder/${settings_file##*/} && -r $folder/${runner##*/} ]]; then
        echo "settings:  $folder/${settings_file##*/}"
    else
        abort 1 "the job's files in $folder are gone" "run $root/setup_cronjob.sh again"
    fi
    if [[ -s $log ]]; then
        echo "log:       $log, which ends with"
        tail -n 1 -- "$log"
    else
        echo "log:       $log (nothing yet)"
    fi
    tell_if_no_daemon
}

# What was asked for: sets action, format and schedule.
read_arguments() {
    action=install format=cron schedule=''
    local actions=0 scheduled=''
    while (($#)); do
        case $1 in
            --help | -h) action=help && return ;;
            --remove | --status | --save-settings) action=${1#--} && ((actions += 1)) ;;
            --dry-run) action=print && ((actions += 1)) ;;
            --print | --print=*)
                action=print && ((actions += 1))
                case $1 in
                    --print=*) format=${1#*=} ;;
                    *) case ${2:--} in -*) ;; *) format=$2 && shift ;; esac ;;
                esac
                ;;
            --schedule)
                (($# > 1)) || wrong_schedule 'nothing follows it'
                schedule=$2 scheduled=yes
                shift
                ;;
            --schedule=*) schedule=${1#*=} scheduled=yes ;;
            *) abort 2 "unknown argument '$1'" "see $0 --help" ;;
        esac
        shift
    done
    ((actions < 2)) || abort 2 "more than one thing asked for" "see $0 --help"
    case $action in
        install | print) ;;
        *) [[ -z $scheduled ]] || abort 2 "--schedule does not go with --$action" "see $0 --help" ;;
    esac
    case $format in
        cron | systemd | systemd-service | systemd-timer | launchd) ;;
        *) abort 2 "--print: '$format' is not cron, systemd or launchd" "see $0 --help" ;;
    esac
    [[ -n $scheduled ]] || schedule="$(minute_of_host) * * * *"
    check_schedule
}

main() {
    local action format schedule minute hour day month weekday minutes hours
    local root config log settings_file runner
    read_arguments "$@"
    if [[ $action == help ]]; then
        usage
        return
    fi
    find_places
    umask 077
    trap clean_up EXIT
    scratch=$(mktemp -d)
    case $action in
        install) install_job ;;
        remove) remove_job ;;
        status) show_status ;;
        save-settings)
            save_settings
            echo "settings: $settings_file"
            echo "to run:   $runner"
            tell_what_may_disappear
            ;;
        print) "print_${format//-/_}" ;;
    esac
}

main "$@"
