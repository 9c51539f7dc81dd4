#!/usr/bin/env bash
# Makes the virtual environment and installs one lock and then this project into it; costs nothing when that is done.
#
#   install.sh VENV LOCK [PYTHON]
#
# A stamp in VENV says what is installed: the hash of the lock and of pyproject.toml, and where the checkout lies. It is
# written last, so an installation that was interrupted is begun anew.
set -euo pipefail

venv=$1 lock=$2 wanted=${3:-}

# A name on PATH is no proof: a pyenv shim is there and fails when it is run.
usable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

stamp_of() { echo "$(cat "$1" pyproject.toml | cksum | tr ' ' -) $PWD"; }

is_installed() { [ -e "$venv/.$lock" ] && [ "$(cat "$venv/.$lock")" = "$(stamp_of "$lock")" ] && usable "$venv/bin/python"; }

# An environment that was moved with its checkout has programs that point to the old place.
is_in_place() { usable "$venv/bin/python" && grep -qsF "$PWD/$venv" "$venv/bin/activate"; }

find_python() {
  local name
  for name in ${wanted:-python3.13 python3.12 python3.11 python3}; do
    if usable "$name"; then
      echo "$name"
      return
    fi
  done
  echo "no usable ${wanted:-Python >= 3.11} was found; this one command gets one:" >&2
  echo "  sudo apt-get install python3 python3-venv   (macOS: brew install python)" >&2
  return 1
}

make_venv() {
  local python=$1
  if "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    "$python" -m venv --clear "$venv"
  elif virtualenv --version >/dev/null 2>&1; then
    virtualenv --quiet --clear --python "$python" "$venv"
  else
    echo "$python can make no virtual environment; this one command mends it:" >&2
    echo "  sudo apt-get install $("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')-venv" >&2
    return 1
  fi
}

if is_installed; then exit 0; fi
if ! is_in_place; then
  python=$(find_python)
  make_venv "$python"
fi

echo "installing $lock into $venv …" >&2
if uv --version >/dev/null 2>&1; then
  install=(uv pip install --quiet --compile-bytecode --python "$venv/bin/python")
else
  install=("$venv/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --no-input)
fi
"${install[@]}" --require-hashes --only-binary=:all: -r "$lock"
# The project itself, editable: the build backend is in the lock, so no index is asked.
"${install[@]}" --no-deps --no-build-isolation --editable .
stamp_of "$lock" >"$venv/.$lock"
# The development lock contains the run-time lock, version for version.
if [ "$lock" = requirements-dev.lock ]; then stamp_of requirements.lock >"$venv/.requirements.lock"; fi
