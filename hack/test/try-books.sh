#!/bin/bash
# Tries the books of test.sh on a test runner that is played: what fails once and passes alone is flaky, what fails twice
# is lost, a test of safety gets no second try, and a run that names no failed test is no run that passed.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/../env.sh"
cd "$REPO"
# shellcheck source=hack/test/books.sh
. hack/test/books.sh
stage=$(mktemp -d)
trap 'rm -rf "$books" "$stage"' EXIT

# An executable that is asked for one test alone, and the runner that has run all of them.
cat >"$stage/tests" <<'X'
#!/bin/bash
case $2 in
  *wobbles) echo "test result: ok. 1 passed; 0 failed; 0 ignored" ;;
  unheard_of) echo "test result: ok. 0 passed; 0 failed; 0 ignored" ;;
  *) echo "test result: FAILED. 0 passed; 1 failed; 0 ignored"; exit 101 ;;
esac
X
chmod +x "$stage/tests"
# said NAME...: what the runner says after these have failed, and one other has passed.
said() {
  [ -z "${beside:-}" ] || printf '     Running tests/dies.rs (%s)\n' "$stage/dies"
  printf '     Running tests/all.rs (%s)\n' "$stage/tests"
  [ $# = 0 ] || printf '\nfailures:\n\n'
  [ $# = 0 ] || printf -- '---- %s stdout ----\nit fell over\n\n' "$@"
  [ $# = 0 ] || printf 'failures:\n'
  [ $# = 0 ] || printf '    %s\n' "$@"
  printf '\ntest result: FAILED. 1 passed; %s failed; 0 ignored; 0 measured\n' $#
}
cargo() { said "${falls[@]}"; [ ${#falls[@]} = 0 ] && [ -z "${dies:-}" ]; }

# expect WHAT OUTCOME PASSED FAILED FLAKY: runs the play and looks at the books.
expect() {
  local outcome=lost flaky
  : >"$books/passed"; : >"$books/failed"; : >"$books/flaky"; : >"$books/lost"
  if tests --all >"$stage/log" 2>&1; then outcome=won; fi
  flaky=$(tr '\n' ' ' <"$books/flaky")
  [ "$outcome $(sum passed) $(sum failed) ${flaky% }" = "$2 $3 $4 ${5:-}" ] || {
    cat "$stage/log" >&2
    die "$1: $outcome with $(sum passed) passed, $(sum failed) failed, flaky: $flaky"
  }
}

falls=(); expect "all pass" won 1 0
falls=(wobbles); expect "one passes alone" won 2 0 wobbles
grep -q 'it fell over' "$stage/log" || die "the first log of a flaky test is not shown"
falls=(falls); expect "one fails again" lost 1 1
[ "$(cat "$books/lost")" = $'falls\n    it fell over' ] || die "the end of a run does not say why a test failed"
falls=(wobbles falls); expect "one of each" lost 2 1 wobbles
falls=(unheard_of); expect "nothing ran the second time" lost 1 1
falls=(tokens::wobbles); expect "a test of safety" lost 1 1
falls=(); dies=yes; expect "the runner dies" lost 1 0
dies=
falls=(wobbles); beside=yes; expect "another executable dies" lost 2 0 wobbles
beside=
NO_SECOND_TRY=yes; expect "generated input" lost 1 1
say "the books of the tests are kept right"
