#!/usr/bin/env bash
# Install the wheel and the source distribution into environments of their own, outside the checkout, and run the
# quickstart there: with each supported version of Python, and with the lowest versions of all dependencies.
#
#     bash tests/environments/run.sh FOLDER [NAME...]
#
# FOLDER is made, and needs 7 GB for each environment unless uv can link the files from its cache. Names are
# wheel-3.11, wheel-3.12, wheel-3.13, sdist-3.11 and lowest-3.11; by default all. Prints a line for each.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mkdir -p "$1" && cd "$1" && pwd)
shift
names=${*:-wheel-3.11 wheel-3.12 wheel-3.13 sdist-3.11 lowest-3.11}
uv build -q --out-dir "$folder/dist" "$root"
for name in $names; do
  kind=${name%%-*} python=${name#*-}
  package=$(ls "$folder"/dist/*.whl)
  [ "$kind" = sdist ] && package=$(ls "$folder"/dist/*.tar.gz)
  export VIRTUAL_ENV=$folder/$name
  uv venv -q --clear --python "$python" "$VIRTUAL_ENV"
  if [ "$kind" = lowest ]; then # what pyproject.toml names is direct only if that file is what is installed
    uv pip install -q --resolution lowest-direct --extra all -r "$root/pyproject.toml"
    uv pip install -q --no-deps "$package"
  else
    uv pip install -q "collapse-sweep[all] @ file://$package"
  fi
  rm -rf "$folder/runs-$name" # of an earlier call
  start=$(date +%s)
  if (cd "$folder" && "$VIRTUAL_ENV/bin/sweep" run quickstart --out "runs-$name" > "$name.log" 2>&1); then
    outcome=passed
  else
    outcome="FAILED, see $folder/$name.log"
  fi
  versions=$("$VIRTUAL_ENV/bin/python" -c 'import numpy, pandas, platform, ray, torch, tyro
print(*[f"{x.__name__} {x.__version__}" for x in (numpy, pandas, ray, torch, tyro)], platform.python_version())')
  printf '%-12s %s in %s s  %s\n' "$name" "$outcome" "$(($(date +%s) - start))" "$versions"
  grep -m1 -A4 '^| pool.alpha' "$folder/$name.log" || true
done
