//! Orders: those that are looked for, and everything about one.

use super::SalePath;
use crate::{
    Console,
    orders::{self, Search, Whole},
};
use axum::extract::State;
use order::document::OrderView;
use platform::http::{
    Json, Path, Query,
    page::{Page, PageQuery},
    problem::Problem,
};
use sale::{OrderId, SaleId, order::OrderStatus};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    id: Option<String>,
    user: Option<String>,
    key: Option<String>,
    status: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

impl Wanted {
    fn search(&self) -> Result<Search, Problem> {
        let given = |text: &Option<String>| {
            text.as_deref()
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        match (
            given(&self.id),
            given(&self.user),
            given(&self.key),
            given(&self.status),
        ) {
            (Some(id), None, None, None) => Ok(Search::Id(OrderId::new(id))),
            (None, Some(user), None, None) => Ok(Search::User(user)),
            (None, Some(user), Some(key), None) => Ok(Search::Key { user, key }),
            (None, None, Some(_), None) => Err(Problem::field(
                "user",
                "is needed with key: the keys of two users have nothing to do with each other",
            )),
            (None, None, None, Some(status)) => status_of(&status).map(Search::Status),
            (None, None, None, None) => Ok(Search::Newest),
            _ => Err(Problem::field(
                "id",
                "stands alone: look for an id, a user, a user and a key, or a status",
            )),
        }
    }
}

fn status_of(text: &str) -> Result<OrderStatus, Problem> {
    let all = [OrderStatus::Pending].into_iter().chain(OrderStatus::ENDS);
    all.into_iter()
        .find(|status| status.as_str() == text)
        .ok_or_else(|| {
            Problem::field(
                "status",
                "must be PENDING, CONFIRMED, FAILED, CANCELLED or EXPIRED",
            )
        })
}
/// Orders that are looked for, or the newest.
pub(super) async fn list(
    State(console): State<Console>,
    Path(which): SalePath,
    Query(query): Query<Wanted>,
) -> Result<Json<Page<OrderView>>, Problem> {
    let search = query.search()?;
    let paging = PageQuery::new(query.limit, query.cursor);
    let (limit, after) = (paging.limit()?, paging.after()?);
    let place = console.sales.place(&which.into()).await?;
    orders::find(&place, search, after, limit).await.map(Json)
}

#[derive(Deserialize)]
pub(super) struct One {
    namespace: String,
    name: String,
    id: String,
}

/// Everything about one order.
pub(super) async fn one(
    State(console): State<Console>,
    Path(One { namespace, name, id }): Path<One>,
) -> Result<Json<Whole>, Problem> {
    let place = console.sales.place(&SaleId { namespace, name }).await?;
    orders::whole(&place, OrderId::new(id)).await.map(Json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Wanted {
        let request = format!("http://console/orders?{text}").parse().unwrap();
        axum::extract::Query::try_from_uri(&request).unwrap().0
    }

    #[test]
    fn a_search_is_for_one_thing() {
        assert_eq!(query("").search().unwrap(), Search::Newest);
        assert_eq!(
            query("id=%20o1%20").search().unwrap(),
            Search::Id(OrderId::new("o1"))
        );
        assert_eq!(
            query("status=FAILED&id=").search().unwrap(),
            Search::Status(OrderStatus::Failed)
        );
        let key = Search::Key {
            user: "ada@example.com".to_owned(),
            key: "k".to_owned(),
        };
        assert_eq!(query("user=ada@example.com&key=k").search().unwrap(), key);
        for (text, field) in [
            ("key=k", "user"),
            ("status=failed", "status"),
            ("id=o1&user=u1", "id"),
        ] {
            assert_eq!(query(text).search().unwrap_err().errors[0].field, field, "{text}");
        }
    }
}
