//! The topics of a sale, through the Kafka protocol.

use crds::valid::TopicPlan;
use events::topics::all_names;
use platform::backends::kafka::{CALL_DEADLINE, KafkaError, topics, within};
use rskafka::client::Client;
use std::collections::BTreeMap;

/// How long the broker may take for a topic; it answers before our own deadline.
pub(crate) const BROKER_TIMEOUT_MS: i32 = 4_000;

/// Why the topics are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// Kafka said no.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// A topic of that name is cut differently, and partitions cannot be taken away or keys would move.
    #[error(
        "the topic {name} has {found} partitions and spec.kafka.partitions is {wanted}; choose another spec.kafka.topicPrefix"
    )]
    Partitions {
        /// The topic.
        name: String,
        /// Its partitions.
        found: usize,
        /// The wanted ones.
        wanted: i32,
    },
}

impl TopicError {
    /// What Kafka answered, if it answered and said no; in our words, for its own may be anything.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::Partitions { .. } => Some(self.to_string()),
            Self::Kafka(error) => refusal(error),
        }
    }
}

/// What Kafka answered, if it answered and said no.
pub fn refusal(error: &KafkaError) -> Option<String> {
    match error {
        KafkaError::Client(rskafka::client::error::Error::ServerError { protocol_error, .. }) => Some(
            format!("Kafka refuses what concerns the topics: {protocol_error:?}"),
        ),
        _ => None,
    }
}

/// Whether all topics are among those of a broker, cut as they should be.
pub fn are_there(existing: &BTreeMap<String, Vec<i32>>, plan: &TopicPlan) -> bool {
    all_names(&plan.prefix).into_iter().all(|name| {
        let partitions = existing.get(&name).map(Vec::len);
        partitions.is_some() && partitions == usize::try_from(plan.partitions).ok()
    })
}

/// Creates the topics that are missing and checks the others. The caller has seen that they belong to the sale.
///
/// # Errors
/// [`TopicError`].
pub async fn ensure(client: &Client, plan: &TopicPlan) -> Result<(), TopicError> {
    let existing = topics(client).await?;
    for name in all_names(&plan.prefix) {
        match existing.get(&name) {
            None => create(client, &name, plan.partitions, plan.replication_factor).await?,
            Some(partitions)
                if usize::try_from(plan.partitions).is_ok_and(|wanted| wanted != partitions.len()) =>
            {
                return Err(TopicError::Partitions {
                    name,
                    found: partitions.len(),
                    wanted: plan.partitions,
                });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Creates a topic unless it is there.
pub(crate) async fn create(
    client: &Client,
    name: &str,
    partitions: i32,
    copies: i16,
) -> Result<(), KafkaError> {
    let controller = client.controller_client()?;
    let call = controller.create_topic(name, partitions, copies, BROKER_TIMEOUT_MS);
    match within(CALL_DEADLINE, call).await {
        Ok(()) => {
            tracing::info!(topic = name, partitions, "topic created");
            Ok(())
        }
        Err(error) if error.is_topic_exists() => Ok(()),
        Err(error) => Err(error),
    }
}
