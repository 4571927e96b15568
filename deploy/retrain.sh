#!/usr/bin/env bash
# Train a new version, activate it if the quality gate passes, watch it, and roll back on an alarm.
#
#   deploy/retrain.sh CONFIG BUNDLES EVENTS URL
#
# CONFIG is the twotower.toml, with data.exported set; BUNDLES is the folder of versions that the service at URL
# serves; EVENTS is its event store. Run it from a timer: nothing asks, and two runs never overlap.
#
# Environment:
#   TWOTOWER_KEY      key with the scope admin, if the service has keys
#   WATCH_SECONDS     how long the new version is watched (default: 1800)
#   CHECK_SECONDS     pause between two checks (default: 30)
#   PROMETHEUS        address of a Prometheus with deploy/alerts.yaml: a firing alert with the label
#                     rollback="true" is an alarm
#   ALARM_COMMAND     a shell command; exit 0 is an alarm
#   KEEP              newest versions of this script to keep (default: 5)
# A service that is not ready at three checks in a row is an alarm in any case.
#
# Exit: 0 the new version is active; 3 the gate refused it; 4 it was activated and rolled back; else a failure, and
# the version before is active.
set -euo pipefail

if [ $# != 4 ]; then
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2
    exit 2
fi
config=$1 bundles=${2%/} events=$3 url=${4%/}
watch_seconds=${WATCH_SECONDS:-1800} check_seconds=${CHECK_SECONDS:-30} keep=${KEEP:-5}
version=auto-$(date -u +%Y%m%d-%H%M%S)

say() { echo "retrain: $*" >&2; }

# The key is passed on standard input: arguments are visible to other users of the machine.
request() {
    local method=$1 path=$2
    shift 2
    { [ -z "${TWOTOWER_KEY:-}" ] || echo "Authorization: Bearer $TWOTOWER_KEY"; } |
        curl --silent --show-error --max-time 600 -H @- -H 'Content-Type: application/json' -X "$method" "$@" \
            "$url$path"
}
active() {
    request GET /v1/models | sed -n 's/.*"active": *"\([^"]*\)".*/\1/p'
}

exec 9>"$bundles/.retrain.lock"
if ! flock --nonblock 9; then
    say "another run is active"
    exit 1
fi
work=$bundles/.$version
answer=$(mktemp)
trap 'rm -rf "$work" "$answer"' EXIT

# 1. Train beside the versions; the service sees the bundle once it is complete.
say "training $version"
twotower export-events "$events" --config "$config"
mkdir "$work"
twotower train "$config" --out "$work/$version"
mv "$work/$version" "$bundles/$version"

# 2. Activate: the service compares it with the active version on the same held-out rows.
before=$(active)
status=$(request POST "/v1/models/$version:activate" -d '{}' -o "$answer" -w '%{http_code}')
if [ "$status" != 200 ]; then
    say "$version was not activated: $status $(cat "$answer")"
    grep -q '"gate_refused"' "$answer" && exit 3
    exit 1
fi
say "$version is active; before: $before"

# 3. Watch it.
not_ready=0
alarm() {
    if [ "$(request GET /readyz -o /dev/null -w '%{http_code}' || true)" = 200 ]; then
        not_ready=0
    elif [ $((not_ready += 1)) -ge 3 ]; then
        say "the service is not ready"
        return 0
    fi
    if [ -n "${PROMETHEUS:-}" ] && curl --silent --fail --max-time 10 --get "${PROMETHEUS%/}/api/v1/query" \
        --data-urlencode 'query=ALERTS{alertstate="firing", rollback="true"}' | grep '"alertname"' >&2; then
        return 0
    fi
    [ -n "${ALARM_COMMAND:-}" ] && bash -c "$ALARM_COMMAND" >&2
}
end=$((SECONDS + watch_seconds))
while [ $SECONDS -lt $end ]; do
    sleep "$check_seconds"
    if alarm; then
        # Somebody may have activated another version in the meantime: leave that alone.
        if [ "$(active)" = "$version" ]; then
            request POST /v1/models:rollback -d '{}' --fail -o "$answer"
            say "alarm: rolled back to $(active)"
        else
            say "alarm, but $version is not active any more"
        fi
        exit 4
    fi
done

# 4. Delete older versions of this script, except those that are needed to roll back.
find "$bundles" -mindepth 1 -maxdepth 1 -type d -name 'auto-????????-??????' -printf '%f\n' | sort -r |
    tail -n "+$((keep + 1))" | while read -r old; do
    if [ "$old" != "$before" ] && [ "$old" != "$version" ]; then
        rm -rf "${bundles:?}/$old"
        say "deleted $old"
    fi
done
say "$version stays active"
