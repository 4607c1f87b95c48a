#!/bin/sh
# Unpacks Debian's Prometheus and Redis into the directory $1, for tests that need the real ones.
# Needs no root and installs nothing on the machine. Where it cannot, it says why and ends well:
# the tests then say what they miss. Idempotent.
set -eu
target=$1
programs="prometheus redis-server"

give_up() {
    echo "Tests with Prometheus and Redis will be skipped: $1" >&2
    rm -rf "$target.new"
    exit 0
}

unpacked() {
    [ -x "$target/usr/bin/prometheus" ] && [ -x "$target/usr/bin/redis-server" ]
}

unpacked && exit 0
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || give_up "this is not Debian"
rm -rf "$target.new"
mkdir -p "$target.new/state/lists/partial" "$target.new/cache/archives/partial" "$target.new/root"
work=$(cd "$target.new" && pwd)
apt() {
    apt-get -qq -o "Dir::State=$work/state" -o "Dir::Cache=$work/cache" \
        -o Dir::State::status=/var/lib/dpkg/status -o APT::Sandbox::User= "$@"
}
echo "Unpacking Debian's Prometheus and Redis into $target ..."
apt update || give_up "the package lists cannot be read"
# The web pages of Prometheus draw in dozens of packages, and no test looks at them.
needed=$(LC_ALL=C apt -s install --no-install-recommends $programs 2>/dev/null |
    awk '$1 == "Inst" { print $2 }' | grep -vE '^(libjs|fonts)-' || true)
(cd "$work" && apt download $programs $needed) || give_up "the packages cannot be fetched"
for package in "$work"/*.deb; do
    dpkg-deb -x "$package" "$work/root"
done
rm -rf "$target"
mv "$work/root" "$target"
rm -rf "$work"
unpacked || give_up "the packages do not hold the programs"
