//! Brings the products of a FlashSale into the inventory of its sale.
//!
//! [`plan`] decides, purely, what has to be done for one product; [`bring`] does it through the inventory's API.
//! Stock is special: buyers take units while somebody edits the number, so an edit travels as a difference. It is
//! written down in the status before it is sent, with the idempotency key that makes it count once.

use crate::calls::{CallError, ServiceCalls};
use crds::{
    status::{ProductStatus, StockChange},
    valid::{ValidProduct, ValidSale},
};
use reqwest::Method;
use sale::{Currency, ImageUrl, Money, Sku, money::JsonDecimal};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What earlier versions wrote over a limit that was taken away.
const NO_LIMIT: u32 = 1_000_000_000;
/// The most pages of products that are read: 100 on each.
const MOST_PAGES: usize = 50;

/// A product as the inventory shows it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredProduct {
    /// Opaque id.
    #[serde(rename = "_id")]
    pub id: String,
    /// Its SKU.
    pub sku: String,
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    category: String,
    price: JsonDecimal,
    #[serde(default)]
    original_price: Option<JsonDecimal>,
    #[serde(default)]
    image_url: Option<ImageUrl>,
    /// All units.
    pub stock: i64,
    /// Units held.
    pub reserved: i64,
    /// Units sold.
    pub sold: i64,
    /// Units that can be ordered.
    pub available: i64,
    version: i64,
    #[serde(default)]
    limit_per_customer: Option<u32>,
}

impl StoredProduct {
    /// Its account, without what the operator has written down about it.
    fn account(&self) -> ProductStatus {
        ProductStatus {
            sku: self.sku.clone(),
            stock: self.stock,
            available: self.available,
            reserved: self.reserved,
            sold: self.sold,
            ..ProductStatus::default()
        }
    }

    /// Whether stock = available + reserved + sold, none of them negative.
    pub fn is_conserved(&self) -> bool {
        let parts = [self.available, self.reserved, self.sold];
        parts.iter().all(|units| *units >= 0) && self.stock == parts.iter().sum::<i64>()
    }
}

impl Planned {
    /// Whether all is as it is written.
    fn is_done(&self) -> bool {
        self.work == Work::Nothing && !self.must_write_first
    }

    /// Whether units come or go by it, now or once the status is written.
    fn changes_stock(&self) -> bool {
        self.must_write_first || matches!(self.work, Work::Create | Work::ChangeStock(..))
    }

    /// Whether there are more units once it is done.
    fn adds_units(&self) -> bool {
        let status = &self.status;
        let change = status.stock_change.as_ref().map(|change| change.to);
        match &self.work {
            Work::Create => status.stock > 0,
            Work::ChangeStock(_, delta) => *delta > 0,
            Work::Nothing | Work::Edit(_) => change > status.applied_stock,
        }
    }
}

/// What has to be done for a product.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// Nothing.
    Nothing,
    /// Make it.
    Create,
    /// Change these fields.
    Edit(Edit),
    /// Send the edit of stock that the status has written down.
    ChangeStock(StockChange, i64),
}

/// The account of a product before and after the work, and what the work is.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// What has to be done.
    pub work: Work,
    /// The product's status when that is done (for [`Work::ChangeStock`]: once it is accepted).
    pub status: ProductStatus,
    /// Whether the status has something to write down before anything else can be done.
    pub must_write_first: bool,
}

/// Decides what has to be done for one product.
pub fn plan(
    wanted: &ValidProduct,
    stored: Option<&StoredProduct>,
    before: Option<&ProductStatus>,
    currency: Currency,
    key: &str,
) -> Planned {
    let Some(stored) = stored else {
        let status = ProductStatus {
            sku: wanted.sku.as_str().to_owned(),
            stock: wanted.stock,
            available: wanted.stock,
            applied_stock: Some(wanted.stock),
            ..ProductStatus::default()
        };
        return Planned {
            work: Work::Create,
            status,
            must_write_first: false,
        };
    };
    let mut status = ProductStatus {
        // A product whose history is not known is taken as it is found.
        applied_stock: Some(before.and_then(|b| b.applied_stock).unwrap_or(stored.stock)),
        stock_change: before.and_then(|b| b.stock_change.clone()),
        ..stored.account()
    };
    let applied = status.applied_stock.unwrap_or(stored.stock);
    if let Some(change) = status.stock_change.take() {
        let delta = change.to - applied;
        status.applied_stock = Some(change.to);
        return Planned {
            work: Work::ChangeStock(change, delta),
            status,
            must_write_first: false,
        };
    }
    if applied != wanted.stock {
        status.stock_change = Some(StockChange {
            to: wanted.stock,
            key: key.to_owned(),
        });
        return Planned {
            work: Work::Nothing,
            status,
            must_write_first: true,
        };
    }
    let edit = Edit::between(wanted, stored, currency);
    let work = edit.map_or(Work::Nothing, Work::Edit);
    Planned {
        work,
        status,
        must_write_first: false,
    }
}

/// A product to create, as the inventory reads it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NewProduct<'a> {
    sku: &'a Sku,
    name: &'a str,
    description: &'a str,
    category: &'a str,
    price: JsonDecimal,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_price: Option<JsonDecimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_url: Option<&'a ImageUrl>,
    stock: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_per_customer: Option<u32>,
}

impl<'a> NewProduct<'a> {
    fn of(wanted: &'a ValidProduct, currency: Currency) -> Self {
        Self {
            sku: &wanted.sku,
            name: &wanted.name,
            description: &wanted.description,
            category: &wanted.category,
            price: wanted.price.to_json(currency),
            original_price: wanted.original_price.map(|price| price.to_json(currency)),
            image_url: wanted.image_url.as_ref(),
            stock: wanted.stock,
            limit_per_customer: wanted.limit_per_customer,
        }
    }
}

/// The fields of a product that differ, as the inventory reads them: what is left out stays, and null takes away.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Edit {
    version: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<JsonDecimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_price: Option<Option<JsonDecimal>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_url: Option<Option<ImageUrl>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_per_customer: Option<Option<u32>>,
}

impl Edit {
    fn between(wanted: &ValidProduct, stored: &StoredProduct, currency: Currency) -> Option<Self> {
        let text = |wanted: &String, stored: &String| (wanted != stored).then(|| wanted.clone());
        let price = |wanted: Option<Money>, stored: Option<&JsonDecimal>| {
            let stored = stored.and_then(|price| price.money(currency).ok());
            (wanted != stored).then(|| wanted.map(|wanted| wanted.to_json(currency)))
        };
        // How earlier versions wrote that there is none.
        let stored_limit = stored.limit_per_customer.filter(|limit| *limit < NO_LIMIT);
        let edit = Self {
            version: stored.version,
            name: text(&wanted.name, &stored.name),
            description: text(&wanted.description, &stored.description),
            category: text(&wanted.category, &stored.category),
            price: price(Some(wanted.price), Some(&stored.price)).flatten(),
            original_price: price(wanted.original_price, stored.original_price.as_ref()),
            image_url: (wanted.image_url != stored.image_url).then(|| wanted.image_url.clone()),
            limit_per_customer: (wanted.limit_per_customer != stored_limit)
                .then_some(wanted.limit_per_customer),
        };
        (edit
            != Self {
                version: stored.version,
                ..Self::default()
            })
        .then_some(edit)
    }
}

/// What is known of a sale's products from before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct History<'a> {
    /// Their accounts, as the status has them.
    pub products: &'a [ProductStatus],
    /// Whether orders may have been accepted.
    pub has_sold: bool,
}

impl<'a> History<'a> {
    /// A product that is known from before, and that the inventory of a sale that has sold does not have. Before the sale has sold
    /// anything it is only made once more.
    fn lost(
        &self,
        known: Option<&'a ProductStatus>,
        found: Option<&StoredProduct>,
    ) -> Option<&'a ProductStatus> {
        known.filter(|_| found.is_none() && self.has_sold)
    }
}

/// Why products stay otherwise than they are written, for the time being.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// Somebody wants the sale left alone.
    Paused,
    /// The spec is not valid, so that it does not say what they should be.
    Invalid,
}

/// What the inventory holds, and what is left to do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Catalogue {
    /// The account of each product of the FlashSale.
    pub products: Vec<ProductStatus>,
    /// What the inventory has refused.
    pub problems: Vec<String>,
    /// Whether the status must be written before the rest can be done.
    pub must_write_first: bool,
    /// Whether there are units, and all of them are sold.
    pub no_unit_left: bool,
    /// Whether units are on their way, or held back: a sale that gets more of them is not sold out.
    pub stock_changes: bool,
    /// Products that were sold from and that the inventory no longer has. Making them anew would offer what is sold.
    pub lost: Vec<String>,
    /// Products whose account does not add up.
    pub unbalanced: Vec<String>,
    /// Why differences are left, where they are.
    pub left_because: Option<Because>,
    /// Products that stay otherwise than they are written.
    pub left: Vec<String>,
}

impl Catalogue {
    /// Whether every product can be sold: the inventory holds it as the FlashSale says, or as it was before, where that is left.
    pub fn can_be_sold(&self) -> bool {
        self.problems.is_empty() && self.lost.is_empty() && !self.must_write_first
    }
}

/// Reads the inventory and brings it to what the FlashSale says, unless products are left as they are. Before the doors have opened one that
/// is not there is made all the same: they open at their time without asking.
///
/// # Errors
/// [`CallError`] when the inventory does not answer.
pub async fn bring(
    calls: &ServiceCalls,
    sale: &ValidSale,
    history: &History<'_>,
    left: Option<Because>,
) -> Result<Catalogue, CallError> {
    let stored = read(calls).await?;
    let mut catalogue = Catalogue {
        // Products that an administrator added sell on, so they count here.
        no_unit_left: stored.iter().any(|p| p.stock > 0)
            && stored.iter().all(|p| p.available == 0 && p.reserved == 0),
        unbalanced: stored
            .iter()
            .filter(|p| !p.is_conserved())
            .map(|p| p.sku.clone())
            .collect(),
        ..Catalogue::default()
    };
    for wanted in &sale.products {
        let sku = wanted.sku.as_str();
        let found = stored.iter().find(|product| product.sku == sku);
        let known = history.products.iter().find(|product| product.sku == sku);
        if let Some(known) = history.lost(known, found) {
            catalogue.lost.push(sku.to_owned());
            catalogue.products.push(known.clone());
            continue;
        }
        let key = format!("{}/{sku}/{}", sale.uid, sale.generation);
        let planned = plan(wanted, found, known, sale.currency, &key);
        if left.is_some() && !planned.is_done() && (found.is_some() || history.has_sold) {
            catalogue.stock_changes |= planned.adds_units();
            catalogue.left_because = left;
            catalogue.leave(sku, found, known);
            continue;
        }
        catalogue.stock_changes |= planned.changes_stock();
        catalogue.must_write_first |= planned.must_write_first;
        if planned.work == Work::Nothing {
            catalogue.products.push(planned.status);
            continue;
        }
        match do_work(calls, wanted, found, &planned.work, sale.currency).await {
            Ok(()) => catalogue.products.push(planned.status),
            Err(error) => {
                catalogue.problems.push(format!("{sku}: {error}"));
                catalogue
                    .products
                    .push(undone(planned.status, known, wanted, &error));
            }
        }
    }
    Ok(catalogue)
}

impl Catalogue {
    /// Leaves a product as it is, and what the status has written down of it.
    fn leave(&mut self, sku: &str, found: Option<&StoredProduct>, known: Option<&ProductStatus>) {
        self.left.push(sku.to_owned());
        self.products.extend(match found {
            Some(found) => Some(ProductStatus {
                applied_stock: known.and_then(|known| known.applied_stock),
                stock_change: known.and_then(|known| known.stock_change.clone()),
                ..found.account()
            }),
            None => known.cloned(),
        });
    }
}

/// The accounts of a sale's products as the inventory has them now.
///
/// # Errors
/// [`CallError`] when the inventory does not answer, or not of all of them.
pub async fn accounts(calls: &ServiceCalls, sale: &ValidSale) -> Result<Vec<ProductStatus>, CallError> {
    let stored = read(calls).await?;
    let named = |product: &&StoredProduct| sale.products.iter().any(|p| p.sku.as_str() == product.sku);
    Ok(stored.iter().filter(named).map(StoredProduct::account).collect())
}

/// The status after work that failed. An edit of stock stays written down, for it may have been made; only one that
/// was refused for good makes room for what the spec says now.
fn undone(
    mut status: ProductStatus,
    known: Option<&ProductStatus>,
    wanted: &ValidProduct,
    error: &CallError,
) -> ProductStatus {
    status.applied_stock = known.and_then(|known| known.applied_stock);
    status.stock_change = known.and_then(|known| known.stock_change.clone());
    if error.is_code("stock_committed") {
        status.stock_change = status.stock_change.filter(|change| change.to == wanted.stock);
    }
    status
}

async fn read(calls: &ServiceCalls) -> Result<Vec<StoredProduct>, CallError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Page {
        items: Vec<StoredProduct>,
        next_cursor: Option<String>,
    }
    let mut products = Vec::new();
    let mut path = "/api/inventory/products?limit=100".to_owned();
    for _ in 0..MOST_PAGES {
        let page: Page = calls.get(&path).await?;
        products.extend(page.items);
        let Some(cursor) = page.next_cursor else { break };
        let cursor: String = url::form_urlencoded::byte_serialize(cursor.as_bytes()).collect();
        path = format!("/api/inventory/products?limit=100&cursor={cursor}");
    }
    Ok(products)
}

async fn do_work(
    calls: &ServiceCalls,
    wanted: &ValidProduct,
    stored: Option<&StoredProduct>,
    work: &Work,
    currency: Currency,
) -> Result<(), CallError> {
    let path = |rest: &str| {
        format!(
            "/api/inventory/products{}{rest}",
            stored.map(|p| format!("/{}", p.id)).unwrap_or_default()
        )
    };
    let answer: Result<Value, CallError> = match work {
        Work::Nothing => return Ok(()),
        Work::Create => {
            calls
                .send(Method::POST, &path(""), &NewProduct::of(wanted, currency), None)
                .await
        }
        Work::Edit(fields) => calls.send(Method::PATCH, &path(""), fields, None).await,
        Work::ChangeStock(change, delta) => {
            calls
                .send(
                    Method::POST,
                    &path("/stock"),
                    &json!({"delta": delta}),
                    Some(&change.key),
                )
                .await
        }
    };
    match answer {
        Ok(_) => Ok(()),
        // Made by an earlier try whose answer was lost.
        Err(error) if error.is_code("sku_taken") => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd() -> Currency {
        Currency::parse("USD").unwrap()
    }

    fn wanted(stock: i64) -> ValidProduct {
        ValidProduct {
            sku: Sku::parse("A").unwrap(),
            name: "a".into(),
            description: String::new(),
            category: String::new(),
            price: Money::from_minor(79_999),
            original_price: None,
            image_url: None,
            stock,
            limit_per_customer: Some(1),
        }
    }

    fn stored(stock: i64, sold: i64) -> StoredProduct {
        serde_json::from_value(json!({
            "_id": "p1", "sku": "A", "name": "a", "description": "", "category": "", "price": 799.99, "stock": stock,
            "reserved": 0, "sold": sold, "available": stock - sold, "version": 3, "limitPerCustomer": 1,
        }))
        .unwrap()
    }

    fn applied(stock: i64, change: Option<(i64, &str)>) -> ProductStatus {
        ProductStatus {
            sku: "A".into(),
            applied_stock: Some(stock),
            stock_change: change.map(|(to, key)| StockChange { to, key: key.into() }),
            ..ProductStatus::default()
        }
    }

    #[test]
    fn a_missing_product_is_created_and_an_equal_one_left_alone() {
        assert_eq!(plan(&wanted(50), None, None, usd(), "k").work, Work::Create);
        let same = plan(
            &wanted(50),
            Some(&stored(50, 7)),
            Some(&applied(50, None)),
            usd(),
            "k",
        );
        assert_eq!(
            (same.work, same.status.sold, same.must_write_first),
            (Work::Nothing, 7, false)
        );
    }

    #[test]
    fn prices_are_written_with_the_digits_of_the_currency() {
        let wanted = ValidProduct {
            price: Money::from_minor(80_000),
            ..wanted(1)
        };
        let product = serde_json::to_string(&NewProduct::of(&wanted, usd())).unwrap();
        assert!(product.contains("\"price\":800.00"), "{product}");
    }

    #[test]
    fn an_edit_names_only_what_differs() {
        let wanted = ValidProduct {
            price: Money::from_minor(1),
            limit_per_customer: None,
            ..wanted(50)
        };
        let planned = plan(
            &wanted,
            Some(&stored(50, 0)),
            Some(&applied(50, None)),
            usd(),
            "k",
        );
        let Work::Edit(fields) = planned.work else {
            panic!("{:?}", planned.work)
        };
        let fields = serde_json::to_string(&fields).unwrap();
        assert_eq!(fields, r#"{"version":3,"price":0.01,"limitPerCustomer":null}"#);
    }

    #[test]
    fn a_price_of_before_that_is_taken_out_is_taken_away() {
        let mut stored = stored(50, 0);
        stored.original_price = serde_json::from_value(json!(999.99)).unwrap();
        let planned = plan(&wanted(50), Some(&stored), Some(&applied(50, None)), usd(), "k");
        let Work::Edit(fields) = planned.work else {
            panic!("{:?}", planned.work)
        };
        let fields = serde_json::to_string(&fields).unwrap();
        assert_eq!(fields, r#"{"version":3,"originalPrice":null}"#);
    }

    #[test]
    fn a_picture_is_put_there_changed_and_taken_away() {
        let picture = |name: &str| ImageUrl::parse(&format!("https://cdn.example/{name}")).unwrap();
        for (wanted_now, there, said) in [
            (
                Some(picture("a")),
                None,
                Some(r#"{"version":3,"imageUrl":"https://cdn.example/a"}"#),
            ),
            (
                Some(picture("b")),
                Some(picture("a")),
                Some(r#"{"version":3,"imageUrl":"https://cdn.example/b"}"#),
            ),
            (None, Some(picture("a")), Some(r#"{"version":3,"imageUrl":null}"#)),
            (Some(picture("a")), Some(picture("a")), None),
        ] {
            let wanted = ValidProduct {
                image_url: wanted_now,
                ..wanted(50)
            };
            let stored = StoredProduct {
                image_url: there,
                ..stored(50, 0)
            };
            let edit = Edit::between(&wanted, &stored, usd());
            let written = edit.map(|edit| serde_json::to_string(&edit).unwrap());
            assert_eq!(written.as_deref(), said);
        }
        let wanted = ValidProduct {
            image_url: Some(picture("a")),
            ..wanted(50)
        };
        let product = serde_json::to_string(&NewProduct::of(&wanted, usd())).unwrap();
        assert!(
            product.contains(r#""imageUrl":"https://cdn.example/a""#),
            "{product}"
        );
    }

    #[test]
    fn a_stock_edit_is_written_down_then_sent_then_done() {
        let noticed = plan(
            &wanted(60),
            Some(&stored(50, 7)),
            Some(&applied(50, None)),
            usd(),
            "u/A/2",
        );
        assert_eq!((&noticed.work, noticed.must_write_first), (&Work::Nothing, true));
        assert_eq!(noticed.status.stock_change.as_ref().unwrap().key, "u/A/2");

        // The spec changed again meanwhile: the edit that was written down goes first, with its own key.
        let sent = plan(
            &wanted(70),
            Some(&stored(50, 7)),
            Some(&noticed.status),
            usd(),
            "u/A/3",
        );
        let Work::ChangeStock(change, delta) = sent.work else {
            panic!("{:?}", sent.work)
        };
        assert_eq!((change.key.as_str(), delta), ("u/A/2", 10));
        assert_eq!(
            (sent.status.applied_stock, sent.status.stock_change.as_ref()),
            (Some(60), None)
        );

        // Sent, but the status was not written: the same again, and the inventory counts it once.
        let again = plan(
            &wanted(70),
            Some(&stored(60, 7)),
            Some(&noticed.status),
            usd(),
            "u/A/3",
        );
        assert!(matches!(again.work, Work::ChangeStock(change, 10) if change.key == "u/A/2"));
    }

    /// The last unit may be sold in the moment in which more are written down.
    #[test]
    fn units_on_their_way_are_known_before_they_are_sent() {
        let changes = |stock, known: &ProductStatus| {
            plan(&wanted(stock), Some(&stored(50, 50)), Some(known), usd(), "k").changes_stock()
        };
        assert!(!changes(50, &applied(50, None)));
        assert!(changes(60, &applied(50, None)));
        assert!(changes(60, &applied(50, Some((60, "k")))));
    }

    /// A sale that waits for fewer of them is sold out all the same.
    #[test]
    fn only_more_units_keep_a_sale_open_that_is_left_alone() {
        let adds = |stock, known: &ProductStatus| {
            plan(&wanted(stock), Some(&stored(50, 50)), Some(known), usd(), "k").adds_units()
        };
        assert!(adds(60, &applied(50, None)) && !adds(40, &applied(50, None)));
        assert!(adds(60, &applied(50, Some((60, "k")))) && !adds(40, &applied(50, Some((40, "k")))));
        assert!(!adds(50, &applied(50, None)));
        assert!(plan(&wanted(50), None, None, usd(), "k").adds_units());
    }

    /// What was promised while the sale was steered is kept for later.
    #[test]
    fn what_is_left_alone_is_shown_as_it_is() {
        let mut catalogue = Catalogue::default();
        let known = applied(50, Some((60, "k")));
        catalogue.leave("A", Some(&stored(50, 7)), Some(&known));
        assert!(catalogue.can_be_sold(), "what is there");
        assert_eq!(catalogue.left, ["A"]);
        let [shown] = catalogue.products.as_slice() else {
            panic!("{:?}", catalogue.products)
        };
        assert_eq!((shown.stock, shown.sold), (50, 7));
        assert_eq!(shown.applied_stock, known.applied_stock);
        assert_eq!(shown.stock_change, known.stock_change);
        catalogue.leave("B", None, None);
        assert_eq!((catalogue.left.len(), catalogue.products.len()), (2, 1));
    }

    /// Another database, or one that lost the products: made anew, they would be sold a second time.
    #[test]
    fn a_product_of_a_sale_that_has_sold_is_missed_and_not_made_anew() {
        let known = applied(50, None);
        let history = |has_sold| History {
            products: std::slice::from_ref(&known),
            has_sold,
        };
        assert_eq!(history(true).lost(Some(&known), None), Some(&known));
        assert_eq!(history(true).lost(Some(&known), Some(&stored(50, 7))), None);
        assert_eq!(
            history(true).lost(None, None),
            None,
            "somebody has added it to the spec"
        );
        assert_eq!(history(false).lost(Some(&known), None), None);
    }

    #[test]
    fn a_broken_account_is_noticed() {
        assert!(stored(50, 7).is_conserved());
        assert!(
            !StoredProduct {
                available: 44,
                ..stored(50, 7)
            }
            .is_conserved()
        );
        assert!(
            !StoredProduct {
                available: -1,
                sold: 51,
                ..stored(50, 7)
            }
            .is_conserved()
        );
    }
}
