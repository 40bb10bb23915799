# shellcheck shell=bash
# Sourced by test.sh: what ran and what came of it, and the second try that a failed test gets.
#
# Stages run in processes of their own, so the books are files in $books: `passed` and `failed` hold a number a line,
# `flaky` and `lost` the name of a test a line, `times` a stage and its seconds.
books=$(mktemp -d)

# The tests of safety: nothing lost, nothing sold twice, nobody let in. Such a failure is never explained away by a
# second try. The patterns are matched against a test's whole path.
SAFETY=(
  # nothing lost, nothing sold twice
  '*three_hundred_buyers_get_fifty_units*'
  '*one_key_is_one_order_and_the_limit_counts_all_orders'
  '*several_items_are_held_whole_or_not_at_all'
  '*a_hold_is_paid_or_given_back_and_never_both'
  '*a_hold_that_ended_elsewhere_is_not_sold'
  '*a_payment_that_comes_while_the_order_process_stands_still_counts'
  '*what_is_no_message_goes_to_the_dead_letters_and_the_lane_moves_on'
  '*two_thousand_orders_in_a_row_all_come_to_an_end'
  '*a_frozen_replica_that_wakes_up_changes_nothing'
  '*a_buyer_whose_gateway_died_gets_the_unit_it_had_taken'
  '*a_buyer_whose_gateway_knew_no_product_hears_of_the_order_it_made'
  '*the_marker_of_a_refused_key_stays_if_a_repeat_has_used_it'
  '*a_repeat_is_answered_after_the_end_and_a_new_order_is_not'
  '*nothing_is_accepted_after_the_receipt_for_closed_doors'
  '*the_settlement_is_never_older_than_the_question'
  '*a_process_that_wakes_up_after_the_count_accepts_nothing'
  '*what_waited_while_a_process_stood_still_is_not_carried_out'
  '*_is_away_for_ten_seconds'
  '*a_payment_and_a_cancellation_that_meet_are_answered_by_what_becomes_of_the_order'
  '*a_hold_that_runs_out_ends_its_order_unless_it_was_paid_before'
  '*two_orders_of_a_customer_at_two_processes_do_not_both_pass_the_limit'
  '*a_limit_counts_what_was_ordered_before_it_was_set'
  '*an_order_that_got_no_answer_is_asked_about_again'
  '*units_of_an_order_whose_end_was_lost_go_back_all_the_same'
  '*units_of_an_order_that_does_not_exist_go_back'
  '*a_repeat_is_answered_with_its_order_although_redis_has_lost_everything'
  '*an_emptied_redis_costs_nothing_but_speed'
  '*orders_end_although_*'
  '*what_was_taken_for_lost_and_comes_after_all_is_told_once'
  '*buyers_are_told_although_the_news_of_their_orders_was_lost'
  '*what_a_restored_database_knows_ends_and_the_rest_holds_nothing'
  '*what_moves_is_written_down_and_what_was_written_past_the_books_is_found'
  '*the_settlement_counts_what_the_orders_say'
  '*sold_out_is_said_when_nothing_can_come_back_and_not_before'
  '*a_short_storm_loses_no_order_and_no_unit'
  '*no_more_is_accepted_than_there_is'
  '*a_database_that_stands_still_costs_lanes_and_no_order'
  '*a_database_whose_connections_are_cut_costs_no_order'
  '*an_order_that_several_end_at_once_has_one_end'
  '*an_order_whose_id_was_taken_by_hand_fails_and_leaves_the_hold_alone'
  '*a_payment_between_a_cancellation_and_the_news_of_it_confirms_nothing'
  '*stock_does_not_go_below_what_is_held_and_sold'
  '*decisions_that_come_together_share_commits_and_each_has_its_own_answer'
  '*damage::*'
  '*letters::*'
  '*a_redis_that_has_begun_anew_with_older_data_is_not_believed'
  '*a_repeat_of_a_cancelled_order_is_no_new_one_although_redis_has_lost_everything'
  '*a_key_that_redis_may_have_forgotten_is_not_refused_for_half_a_minute'
  '*what_is_stuck_by_the_thousand_keeps_no_others_waiting'
  '*an_unknown_key_is_refused_once_markers_are_whole_or_no_try_can_be_under_way'
  '*a_hold_that_cannot_end_keeps_no_other_hold_by_hand_from_running_out'
  '*units_of_an_order_whose_confirmation_was_lost_are_sold_all_the_same'
  '*an_order_that_somebody_else_writes_keeps_*'
  '*a_cancellation_between_a_payment_by_hand_and_the_news_of_it_gives_the_unit_back'
  '*two_sales_never_share_topics'
  '*an_object_of_somebody_else_is_left_alone'
  '*a_secret_of_ones_own_leads_to_nobody_elses_topics'
  '*a_secret_that_went_first_keeps_no_sale_and_no_data'
  '*a_database_of_another_cluster_is_left_alone'
  '*keys_of_another_cluster_in_redis_are_left_alone'
  '*_without_a_mark_are_taken_over_on_request_only'
  '*_without_a_mark_is_taken_over_on_request_only'
  '*under_attack_nobody_is_let_in_and_no_order_is_lost'
  'deletion::*'
  '*a_deleted_sale_waits_for_an_order_that_waits_for_its_payment'
  '*a_sale_that_is_reopened_accepts_orders_and_can_be_closed_again'
  '*outlives_its_operator_in_every_phase'
  # it counts, and needs an API server that nobody else has used
  'many::*'
  # it needs an API server without another operator
  'unwell::*'
  # the rules themselves; what is generated anew is another test the second time
  'properties::*'
  # nobody let in
  '*nobody_but_an_administrator_gets_into_the_console'
  '*a_console_without_the_switches_changes_nothing'
  '*other_origins_change_nothing_with_an_administrators_cookie'
  '*a_token_of_a_part_of_quicksale_is_refused_at_the_front_door'
  '*the_operator_lends_nobody_its_identity'
  '*the_platforms_backends_are_for_namespaces_that_it_names'
  'rights::*'
  'neighbour::*'
  '*one_address_has_few_guesses_whatever_tokens_it_brings'
  '*tokens_open_no_second_budget_for_passwords_and_accounts'
  '*a_new_password_ends_the_other_sessions_and_a_deleted_account_all'
  '*the_administrator_is_who_is_declared'
  '*a_program_of_the_shop_gets_tokens_until_its_account_ends'
  '*guesses_at_two_sales_count_together'
  '*without_redis_nobody_gets_in_uncounted_and_the_rest_goes_on'
  '*a_ticket_opens_one_socket_once'
  '*a_ticket_is_over_after_thirty_seconds'
  '*pages_of_other_sites_open_no_socket'
  '*no_request_hides_in_another'
  '*bad_input_is_named_and_changes_nothing'
  '*a_web_page_of_the_shop_may_call_and_no_other'
  '*a_password_goes_over_plain_text_only_where_the_sale_says_so'
  '*a_sale_that_has_begun_sends_no_password_in_plain_text_either'
  'tokens::*'
)

is_safety() {
  local pattern
  # What is generated anew is another test the second time.
  [ -z "${NO_SECOND_TRY:-}" ] || return 0
  for pattern in "${SAFETY[@]}"; do
    # shellcheck disable=SC2053 # the pattern is meant as one
    [[ $1 != $pattern ]] || return 0
  done
  return 1
}

# A renamed test would drop out of the list without a word.
check_safety_list() {
  local pattern name
  for pattern in "${SAFETY[@]}"; do
    name=${pattern//\*/}
    case $name in
      *::) name="mod ${name%::}" ;;
      *) name="fn [a-z_]*${name}[a-z_]*\\(" ;;
    esac
    grep -rqE --include='*.rs' "$name" tests crds operator services ||
      die "no test matches $pattern: mend the list in hack/test/books.sh"
  done
}

note() { printf '%s\n' "$2" >>"$books/$1"; }
sum() { awk '{sum += $1} END {print sum + 0}' "$books/$1" 2>/dev/null || echo 0; }

# failed_tests LOG: a line for each test that failed: its executable, a tab, its name.
failed_tests() {
  awk '
    /^ +Running .*\)$/ {executable = $0; sub(/.*\(/, "", executable); sub(/\)$/, "", executable)}
    /^failures:$/ {listing = 1; next}
    listing && /^    [^ ]+$/ {print executable "\t" $1; next}
    listing {listing = 0}
  ' "$1"
}

# what_it_said LOG NAME: the output of one failed test.
what_it_said() {
  awk -v head="---- $2 stdout ----" '
    $0 == head {inside = 1}
    inside && $0 != head && (/^---- .* stdout ----$/ || /^failures:$/) {exit}
    inside
  ' "$1"
}

# why_it_failed LOG NAME: the first lines of that, and nothing of where the code stood: whoever reads only the end of a run needs them.
why_it_failed() { what_it_said "$1" "$2" | awk '/^Stack backtrace:/ {exit} NR > 1 && NF {print "    " substr($0, 1, 400); if (++said == 6) exit}'; }

# counted LOG passed|failed: the number in the closing lines of the test runner.
counted() { sed -n "s/^test result: .*[^0-9]\([0-9]*\) $2[;,].*/\1/p" "$1" | awk '{sum += $1} END {print sum + 0}'; }

# tests ARGUMENT...: `cargo test` with these arguments. A test that fails runs once more, alone, unless it is one of
# safety; one that passes then is flaky, which is printed with both logs and fails nothing.
tests() {
  local log again executable name status=0 known=0 lost=0
  log=$(mktemp -p "$books" tests.XXXX)
  cargo test --locked --no-fail-fast "$@" 2>&1 | tee "$log" || status=1
  note passed "$(counted "$log" passed)"
  [ "$status" = 0 ] && return 0
  while IFS=$'\t' read -r executable name; do
    known=$((known + 1))
    if is_safety "$name"; then
      printf '==== %s gets no second try\n' "$name"
    else
      printf '==== %s failed; once more, alone\n' "$name"
      again=$log.$known
      # The runner answers 0 also where it has run nothing.
      if timeout 600 "$executable" --exact "$name" --test-threads 1 --nocapture >"$again" 2>&1 </dev/null &&
        [ "$(counted "$again" passed)" = 1 ]; then
        printf '==== FLAKY %s: it failed, and passed alone. The first log:\n' "$name"
        what_it_said "$log" "$name"
        printf '==== FLAKY %s: the second log:\n' "$name"
        cat "$again"
        note passed 1
        note flaky "$name"
        continue
      fi
      printf '==== %s failed again. The second log:\n' "$name"
      cat "$again"
    fi
    note failed 1
    note lost "$name"
    why_it_failed "$log" "$name" >>"$books/lost"
    lost=$((lost + 1))
  done < <(failed_tests "$log")
  # A process that died, or did not compile, names no test; and one that died leaves no closing line.
  [ "$known" != 0 ] && [ "$lost" = 0 ] && [ "$known" = "$(counted "$log" failed)" ] &&
    [ "$(grep -c '^ *Running .*)$' "$log")" = "$(grep -c '^test result: ' "$log")" ]
}
