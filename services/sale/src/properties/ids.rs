//! Identifiers: two things never share one, wherever the border between the parts of their names is.

use super::holds;
use crate::{OrderId, SaleId, Sku, UserId};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};

/// What might be taken for a border or for a length, and little else.
const LETTERS: [char; 10] = ['a', 'b', 'ä', ' ', '|', ':', '/', '\0', '\u{1}', '\u{2}'];

/// Two texts of the same letters: often the same, and never far apart.
fn alike() -> impl Strategy<Value = (String, String)> {
    let twice = |letters: Vec<char>| (Just(letters.clone()), Just(letters).prop_shuffle());
    let text = |letters: Vec<char>| letters.into_iter().collect();
    vec(select(&LETTERS), 0..4)
        .prop_flat_map(twice)
        .prop_map(move |(one, other)| (text(one), text(other)))
}

fn derived(user: &str, key: &str) -> OrderId {
    OrderId::derive(&UserId::new(user), key)
}

#[test]
fn an_order_id_belongs_to_one_user_and_one_key() {
    holds((alike(), alike()), |((user, other_user), (key, other_key))| {
        let same = (&user, &key) == (&other_user, &other_key);
        let (id, other) = (derived(&user, &key), derived(&other_user, &other_key));
        prop_assert_eq!(id == other, same);
        prop_assert_eq!(id, derived(&user, &key));
        Ok(())
    });
}

#[test]
fn an_order_id_depends_on_where_the_user_ends_and_the_key_begins() {
    let text = vec(proptest::char::any(), 1..12);
    let cut = any::<Index>;
    holds((text, cut(), cut()), |(letters, one, other)| {
        let (one, other) = (one.index(letters.len() + 1), other.index(letters.len() + 1));
        let id = |cut: usize| {
            let [user, key]: [String; 2] = [letters[..cut].iter().collect(), letters[cut..].iter().collect()];
            derived(&user, &key)
        };
        prop_assert_eq!(id(one) == id(other), one == other);
        Ok(())
    });
}

/// It stands in paths, in keys of Redis and in keys of Kafka.
#[test]
fn an_order_id_is_plain_whatever_it_is_derived_from() {
    holds((any::<String>(), any::<String>()), |(user, key)| {
        let id = derived(&user, &key);
        prop_assert_eq!(id.as_str().len(), 32);
        let plain = |letter: char| matches!(letter, '0'..='9' | 'a'..='f');
        prop_assert!(id.as_str().chars().all(plain), "{}", id);
        Ok(())
    });
}

#[test]
fn two_skus_are_two_products() {
    const SKU: &str = "[aA0][aA0._-]{0,3}";
    holds((SKU, SKU), |(one, other)| {
        let product = |text: &str| Sku::parse(text).unwrap().product_id();
        prop_assert_eq!(product(&one) == product(&other), one == other);
        Ok(())
    });
}

/// A name that Kubernetes allows, often as long as another one and the same for most of its length.
fn labels() -> impl Strategy<Value = String> {
    let long =
        (38..58_usize, "[ab-]{0,4}[ab]").prop_map(|(alike, rest)| format!("{}{rest}", "x".repeat(alike)));
    prop_oneof!["[ab]([ab-]{0,3}[ab])?", long]
}

fn sales() -> impl Strategy<Value = SaleId> {
    (labels(), labels()).prop_map(|(namespace, name)| SaleId { namespace, name })
}

/// Two sales, or the same letters with the border in two places.
fn pairs_of_sales() -> impl Strategy<Value = (SaleId, SaleId)> {
    let cut = |parts: &[String], at: usize| SaleId {
        namespace: parts[..at].join("-"),
        name: parts[at..].join("-"),
    };
    let cut_twice = (vec("[ab]{1,30}", 3), 1..3_usize, 1..3_usize)
        .prop_map(move |(parts, one, other)| (cut(&parts, one), cut(&parts, other)));
    prop_oneof![(sales(), sales()), cut_twice]
}

/// Nor does a sale share anything with its own rehearsal, which is wiped without a thought for the sale. Left out is a sale that was
/// named after the hash in the database of another one with a long name: names alone do not keep these apart, marks do.
#[test]
fn two_sales_share_no_database_no_keys_and_no_topics() {
    holds(
        (pairs_of_sales(), any::<bool>(), any::<bool>()),
        |((one, other), one_is_tried, other_is_tried)| {
            let same = (&one, one_is_tried) == (&other, other_is_tried);
            let places = |sale: &SaleId, rehearsal| {
                [
                    sale.database(rehearsal),
                    sale.redis_prefix(rehearsal),
                    sale.default_topic_prefix(rehearsal),
                ]
            };
            let (here, there) = (places(&one, one_is_tried), places(&other, other_is_tried));
            prop_assert!(here[0].len() <= 63);
            for (here, there) in here.into_iter().zip(there) {
                prop_assert_eq!(here == there, same, "{}", here);
            }
            Ok(())
        },
    );
}
