#!/usr/bin/env bash
# Checks what is deployed without a cluster or a daemon: compose file, chart, alert rules, and that the configurations in them
# are ones that the service takes. Fetches the tools that are missing, once: promtool from Debian, the others through Go's
# and Python's package registries. Exit status 0, or 1 after everything that is wrong was said.
#
#   THROUGHLINE_BIN=target/debug/throughline scripts/check-deploy.sh
set -euo pipefail
cd "$(dirname "$0")/.."

helm_version=v3.19.2
kubeconform_version=v0.8.0
compose_version=v2.40.3
# What the chart is held to: the oldest Kubernetes it claims, and a recent one. The schemas come with kubernetes-validate.
kubernetes_versions=(1.27.0 1.34.0)
schemas_version=1.37.0

tools=${THROUGHLINE_TOOLS:-$HOME/.cache/throughline/tools}
mkdir -p "$tools"
PATH="$tools:$PATH"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

say() { echo "check-deploy: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

# Runs a check under a name. All of it is shown if it fails, nothing if it does not.
check() {
    local name=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        echo "ok    $name"
    else
        echo "FAIL  $name"
        sed 's/^/      /' "$work/log"
        failed=$((failed + 1))
    fi
}

need_go() {
    command -v go >/dev/null || fail "go is not installed, and helm, kubeconform and compose are built with it: install Go 1.24 or newer"
}

# A tool of this version, built beside its name and then renamed: one that was interrupted is never taken for a whole one.
go_tool() {
    local name=$1 module=$2 version=$3
    [ -x "$tools/$name-$version" ] || {
        need_go
        say "building $name $version (once)"
        if [ "$name" = docker-compose ]; then
            # Its go.mod has directives that `go install` refuses, so it is built as a dependency of an empty module.
            (cd "$work" && mkdir compose && cd compose && go mod init tools && go get "$module@$version" &&
                go build -o "$tools/$name.part" "$module") >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
        else
            GOBIN="$work" go install "$module@$version" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
            mv "$work/$name" "$tools/$name.part"
        fi
        mv "$tools/$name.part" "$tools/$name-$version"
    }
    ln -sf "$name-$version" "$tools/$name"
}

schemas() {
    schemas=$tools/kubernetes-schemas-$schemas_version
    [ -d "$schemas" ] && return
    say "fetching schemas of Kubernetes (once)"
    python3 -m pip download -q --no-deps --disable-pip-version-check -d "$work" "kubernetes-validate==$schemas_version" >&2 ||
        fail "pip could not fetch kubernetes-validate $schemas_version (Debian: apt-get install python3-pip)"
    python3 -m zipfile -e "$work"/kubernetes_validate-*.whl "$work/schemas"
    local version
    mkdir "$work/parts"
    for version in "${kubernetes_versions[@]}"; do
        cp -r "$work/schemas/kubernetes_validate/kubernetes-json-schema/v$version-local-strict" "$work/parts/$version"
        # They refer to one another by an address that is none; here it is the file beside them.
        sed -i 's,"/api/_definitions.json,"_definitions.json,; s,"$id":,"x-id":,' "$work/parts/$version"/*.json
    done
    mv "$work/parts" "$schemas"
}

promtool_is_there() {
    command -v promtool >/dev/null && return
    say "installing promtool (package prometheus)"
    [ "$(id -u)" = 0 ] || fail "promtool is not installed: apt-get install --no-install-recommends prometheus"
    # Only the tool is wanted, not a server that runs.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends prometheus >/dev/null
}

# Through `helm template`, the way a user would.
render() { helm template --kube-version "${kubernetes_versions[-1]}" release helm/throughline "$@"; }

conforms() {
    local version=$1 file=$2
    # ServiceMonitor, PrometheusRule and ScaledObject are no kinds of Kubernetes itself.
    kubeconform -strict -summary -skip ServiceMonitor,PrometheusRule,ScaledObject \
        -schema-location "$schemas/$version/{{.ResourceKind}}{{.KindSuffix}}.json" "$file"
}

# The configuration in a rendered chart is one that the service takes.
config_is_taken() {
    sed -n '/^  throughline.yaml: |/,/^---/{/^    /s/^    //p}' "$1" >"$work/throughline.yaml"
    grep -q brokers "$work/throughline.yaml" || { echo "no configuration in $1"; return 1; }
    env THROUGHLINE_ADMIN__TOKEN=0123456789abcdef "$THROUGHLINE_BIN" --set instance=one -c "$work/throughline.yaml" config show
}

rules_are_promtools() {
    render -s templates/monitoring.yaml -f helm/throughline/ci/secure-values.yaml >"$work/monitoring.yaml"
    sed -n '/^kind: PrometheusRule/,/^---/p' "$work/monitoring.yaml" | sed -n '/^spec:/,/^---/{/^  /s/^  //p}' >"$work/rules.yaml"
    promtool check rules "$work/rules.yaml"
}

refused() {
    local file=$1 expected
    expected=$(sed -n '1s/^# says: //p' "$file")
    [ -n "$expected" ] || { echo "its first line must be '# says: MESSAGE'"; return 1; }
    if render -f "$file" >"$work/out" 2>&1; then
        echo "it was rendered"
        return 1
    fi
    grep -qF -- "$expected" "$work/out" || { echo "expected: $expected"; cat "$work/out"; return 1; }
}

[ -x "${THROUGHLINE_BIN:-}" ] || fail "THROUGHLINE_BIN names no program: cargo build, then THROUGHLINE_BIN=target/debug/throughline"
go_tool helm helm.sh/helm/v3/cmd/helm "$helm_version"
go_tool kubeconform github.com/yannh/kubeconform/cmd/kubeconform "$kubeconform_version"
go_tool docker-compose github.com/docker/compose/v2/cmd "$compose_version"
schemas
promtool_is_there

for script in docker/*.sh scripts/*.sh; do
    check "$script is bash" bash -n "$script"
done
check "compose file" docker-compose --profile '*' config -q
check "compose: configuration" env THROUGHLINE_INSTANCE=one "$THROUGHLINE_BIN" -c docker/throughline/throughline.yaml config show
check "alert rules" promtool check rules docker/prometheus/alerts.yml
check "alert rules: tests" promtool test rules docker/prometheus/alerts.test.yml
check "alert rules: of the chart" rules_are_promtools
check "prometheus: configuration" promtool check config --syntax-only docker/prometheus/prometheus.yml
for values in helm/throughline/ci/*-values.yaml; do
    name=$(basename "$values" -values.yaml)
    check "chart, $name: lint" helm lint --strict --kube-version "${kubernetes_versions[-1]}" helm/throughline -f "$values"
    if render -f "$values" >"$work/$name.yaml" 2>"$work/error"; then
        for version in "${kubernetes_versions[@]}"; do
            check "chart, $name: Kubernetes $version" conforms "$version" "$work/$name.yaml"
        done
        check "chart, $name: configuration" config_is_taken "$work/$name.yaml"
    else
        check "chart, $name: template" sh -c "cat '$work/error'; false"
    fi
done
for values in helm/throughline/ci/wrong/*.yaml; do
    check "chart refuses $(basename "$values" .yaml)" refused "$values"
done

[ "$failed" = 0 ] || fail "$failed checks failed"
