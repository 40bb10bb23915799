//! The mark beside a sale's topics: an empty topic with the owner in its name. Its creation has a place in the one order
//! in which Kafka's controllers decide everything, and whoever sees it sees everything before it; a record would be
//! deleted after the topic's retention.

use super::{Claim, Claimant, Owner, unmarked};
use crate::topics::{BROKER_TIMEOUT_MS, create};
use events::topics::all_names;
use platform::backends::kafka::{CALL_DEADLINE, KafkaError, topics, within};
use rskafka::client::Client;
use std::collections::{BTreeMap, BTreeSet};

/// After the prefix, before the owner's mark.
const MARK: &str = "quicksale-owner.";

/// What the names of a broker's topics say about a prefix.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    ours: bool,
    /// The mark of somebody else.
    another: Option<String>,
    /// Whether a topic of the sale is there.
    in_use: bool,
}

/// What to do after a look.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Grant,
    /// Put the mark there and look again.
    Mark,
    /// Another was there first, or at the same time: take our own mark away, if it is there.
    GiveWay(String),
    /// The topics are there and nobody's.
    Unmarked,
}

fn see(names: &BTreeSet<String>, prefix: &str, owner: &Owner) -> Seen {
    let before = format!("{prefix}{MARK}");
    let own = owner.mark();
    let marks: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_prefix(&before))
        .collect();
    Seen {
        ours: marks.contains(&own.as_str()),
        another: marks.into_iter().find(|mark| *mark != own).map(str::to_owned),
        in_use: all_names(prefix).iter().any(|name| names.contains(name)),
    }
}

/// The rule. A sale makes its topics only after a look that showed its own mark and no other, so of two that look at
/// the same time at most one goes on: the mark that was made first is seen by whoever sees the second.
fn decide(seen: &Seen, claimant: &Claimant) -> Decision {
    match (seen.ours, &seen.another) {
        (true, None) => Decision::Grant,
        // The other has seen our mark, or will, and gives way.
        (true, Some(_)) if claimant.has_begun => Decision::Grant,
        (_, Some(another)) => Decision::GiveWay(another.clone()),
        (false, None) if seen.in_use && !claimant.adopts() => Decision::Unmarked,
        (false, None) => Decision::Mark,
    }
}

async fn names(client: &Client) -> Result<BTreeSet<String>, KafkaError> {
    Ok(topics(client).await?.into_keys().collect())
}

/// Whether the topics are known to be those of a sale that has begun, by a list of all topics from a moment ago: such a sale keeps them
/// whoever comes after it.
pub fn are_held(existing: &BTreeMap<String, Vec<i32>>, prefix: &str, claimant: &Claimant) -> bool {
    let own = format!("{prefix}{MARK}{}", claimant.owner.mark());
    claimant.has_begun && existing.contains_key(&own)
}

/// Puts the mark there, unless another's is.
///
/// # Errors
/// [`KafkaError`].
pub async fn claim(
    client: &Client,
    prefix: &str,
    copies: i16,
    claimant: &Claimant,
) -> Result<Claim, KafkaError> {
    let own = format!("{prefix}{MARK}{}", claimant.owner.mark());
    // Twice: the second look is the one that counts after a mark was made.
    for _ in 0..2 {
        let seen = see(&names(client).await?, prefix, &claimant.owner);
        match decide(&seen, claimant) {
            Decision::Grant => return Ok(Claim::Granted),
            Decision::Mark => create(client, &own, 1, copies).await?,
            Decision::GiveWay(another) => {
                if seen.ours {
                    delete(client, &own).await?;
                }
                return Ok(Claim::Refused(belongs(prefix, &another, claimant)));
            }
            Decision::Unmarked => return Ok(unmarked(&format!("a topic of {prefix}* is"))),
        }
    }
    // The broker does not show the new mark yet: the next look will.
    Ok(Claim::NotYet(format!(
        "the mark of the topics {prefix}* was just made; looking again"
    )))
}

fn belongs(prefix: &str, mark: &str, claimant: &Claimant) -> String {
    match (claimant.known)(mark) {
        Some(owner) => format!(
            "spec.kafka.topicPrefix: the topics {prefix}* belong to the sale {owner}; choose another prefix"
        ),
        None => format!(
            "spec.kafka.topicPrefix: the topics {prefix}* belong to a sale of another cluster, or to one that is gone; \
             choose another prefix, or delete the topic {prefix}{MARK}{mark} if that sale is gone"
        ),
    }
}

async fn delete(client: &Client, name: &str) -> Result<(), KafkaError> {
    let controller = client.controller_client()?;
    within(CALL_DEADLINE, controller.delete_topic(name, BROKER_TIMEOUT_MS)).await?;
    tracing::info!(topic = name, "topic deleted");
    Ok(())
}

/// Deletes the topics if they carry this sale's mark and no other; returns whether they are gone. Where another's mark stands
/// beside that of a sale that has not begun, the topics are the other's, and only the own mark goes. The mark goes last,
/// so that a deletion that was cut short is taken up again.
///
/// # Errors
/// [`KafkaError`].
pub async fn remove(client: &Client, prefix: &str, claimant: &Claimant) -> Result<bool, KafkaError> {
    let owner = &claimant.owner;
    let existing = names(client).await?;
    let may = may_remove(&see(&existing, prefix, owner), claimant);
    if may == Removal::Nothing {
        return Ok(false);
    }
    let topics = all_names(prefix)
        .into_iter()
        .filter(|_| may == Removal::Everything);
    for name in topics.filter(|name| existing.contains(name)) {
        delete(client, &name).await?;
    }
    delete(client, &format!("{prefix}{MARK}{}", owner.mark())).await?;
    Ok(may == Removal::Everything)
}

/// What a sale may delete.
#[derive(Debug, PartialEq, Eq)]
enum Removal {
    Nothing,
    OwnMark,
    Everything,
}

fn may_remove(seen: &Seen, claimant: &Claimant) -> Removal {
    match (seen.ours, &seen.another) {
        (false, _) => Removal::Nothing,
        (true, Some(_)) if !claimant.has_begun => Removal::OwnMark,
        (true, _) => Removal::Everything,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn owner(name: &str) -> Owner {
        Owner {
            cluster: "c".into(),
            namespace: "shop".into(),
            name: name.into(),
            uid: name.into(),
        }
    }

    fn claimant(name: &str) -> Claimant {
        Claimant {
            owner: owner(name),
            has_begun: false,
            takes_over: false,
            known: Arc::new(|mark| (mark == owner("lab").mark()).then(|| "lab in shop".to_owned())),
        }
    }

    /// A broker's topics, where every claim is a list, then perhaps a creation, then a list: all orders of two claims.
    #[test]
    fn of_two_that_claim_at_once_at_most_one_is_granted() {
        // Each claim takes three steps, so 6 over 3 orders.
        for order in 0_u32..64 {
            if order.count_ones() != 3 {
                continue;
            }
            let claimants = [claimant("a"), claimant("b")];
            let mut names = BTreeSet::new();
            let mut decisions = [None, None];
            let mut granted = 0;
            for step in 0..6 {
                let who = usize::from(order >> step & 1 == 1);
                let (me, mark) = (
                    &claimants[who],
                    format!("p.{MARK}{}", claimants[who].owner.mark()),
                );
                match &decisions[who] {
                    Some(Decision::Mark) if !names.contains(&mark) => {
                        names.insert(mark);
                    }
                    Some(Decision::GiveWay(_) | Decision::Grant | Decision::Unmarked) => {}
                    _ => {
                        let decision = decide(&see(&names, "p.", &me.owner), me);
                        if let Decision::GiveWay(_) = decision {
                            names.remove(&mark);
                        }
                        granted += usize::from(decision == Decision::Grant);
                        decisions[who] = Some(decision);
                    }
                }
            }
            assert!(granted <= 1, "order {order:b}");
        }
    }

    #[test]
    fn who_has_begun_keeps_what_it_has_and_others_are_told_whose_it_is() {
        let (lab, thief) = (claimant("lab"), claimant("thief"));
        let topics = [
            "p.order.created".to_owned(),
            format!("p.{MARK}{}", lab.owner.mark()),
        ];
        let names = BTreeSet::from(topics);
        assert_eq!(decide(&see(&names, "p.", &lab.owner), &lab), Decision::Grant);
        let Decision::GiveWay(another) = decide(&see(&names, "p.", &thief.owner), &thief) else {
            panic!("the thief got the topics");
        };
        assert!(belongs("p.", &another, &thief).contains("lab in shop"));
        // The thief's mark came a moment ago and will go: nothing that the first has begun stops for that.
        let both: BTreeSet<_> = names
            .into_iter()
            .chain([format!("p.{MARK}{}", thief.owner.mark())])
            .collect();
        let begun = Claimant {
            has_begun: true,
            ..lab
        };
        assert_eq!(decide(&see(&both, "p.", &begun.owner), &begun), Decision::Grant);
    }

    #[test]
    fn a_mark_that_was_left_beside_anothers_deletes_nothing_of_the_other() {
        let (lab, late) = (claimant("lab"), claimant("late"));
        let mark = |of: &Claimant| format!("p.{MARK}{}", of.owner.mark());
        let names = BTreeSet::from(["p.order.created".to_owned(), mark(&lab), mark(&late)]);
        let may = |of: &Claimant| may_remove(&see(&names, "p.", &of.owner), of);
        assert_eq!(may(&late), Removal::OwnMark);
        let begun = Claimant {
            has_begun: true,
            ..lab
        };
        assert_eq!(may(&begun), Removal::Everything);
        assert_eq!(may(&claimant("nobody")), Removal::Nothing);
    }

    #[test]
    fn what_is_there_without_a_mark_is_taken_over_on_request_only() {
        let names = BTreeSet::from(["order.created".to_owned()]);
        let new = claimant("lab");
        assert_eq!(decide(&see(&names, "", &new.owner), &new), Decision::Unmarked);
        for adopts in [
            Claimant {
                takes_over: true,
                ..new.clone()
            },
            Claimant {
                has_begun: true,
                ..new.clone()
            },
        ] {
            assert_eq!(decide(&see(&names, "", &new.owner), &adopts), Decision::Mark);
        }
        assert_eq!(
            decide(&see(&BTreeSet::new(), "", &new.owner), &new),
            Decision::Mark
        );
    }
}
