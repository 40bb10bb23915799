//! Products: list, show, create, edit.

use super::{Inventory, store_problem};
use crate::{
    ledger::Posting,
    product::{Product, ProductView},
    store::{Store, StoreError, WriteError},
};
use axum::{extract::State, http::StatusCode};
use futures::FutureExt;
use jiff::Timestamp;
use mongodb::{
    ClientSession,
    bson::{self, DateTime, doc},
};
use platform::{
    backends::mongo::{self, MongoError, TransactionError},
    http::{
        Json, Path, Query,
        authorization::Caller,
        page::{Page, PageQuery},
        problem::{Code, Problem},
    },
    tokens::Role,
};
use sale::{Currency, ImageUrl, Money, ProductId, Sku, money::JsonDecimal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The most units of a product: well inside of what JSON readers hold exactly.
pub const MOST_STOCK: i64 = 1_000_000_000;
/// The longest text about a product, in characters.
pub const LONGEST_TEXT: usize = 500;

/// A product to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewProduct {
    /// 1 to 64 letters, digits, '.', '_' or '-'.
    #[schema(value_type = String, example = "FLASH-LAPTOP-001", min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    sku: Sku,
    /// The name that buyers see, 1 to 500 characters.
    #[schema(min_length = 1, max_length = 500)]
    name: String,
    /// At most 500 characters.
    #[serde(default)]
    #[schema(max_length = 500)]
    description: String,
    /// At most 500 characters.
    #[serde(default)]
    #[schema(max_length = 500)]
    category: String,
    /// Price of a unit, with no more digits than the currency has.
    #[schema(value_type = f64, example = 799.99, minimum = 0, maximum = 9_999_999_999.0)]
    price: JsonDecimal,
    /// Price before the sale.
    #[serde(default)]
    #[schema(value_type = Option<f64>, example = 1299.99, minimum = 0, maximum = 9_999_999_999.0)]
    original_price: Option<JsonDecimal>,
    /// Address of a picture, https and at most 1,000 characters.
    #[serde(default)]
    #[schema(
        example = "https://cdn.example/laptop.webp",
        max_length = 1000,
        pattern = r"^https://[A-Za-z0-9][A-Za-z0-9.:-]*([/?#][-A-Za-z0-9._~:/?#@!$&()*+,;=%]*)?$"
    )]
    image_url: Option<String>,
    /// Units for sale, 0 to 1,000,000,000.
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    stock: i64,
    /// Units a customer may buy, from 1; left out for any number.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 4_294_967_295_u32)]
    limit_per_customer: Option<u32>,
}

/// An edit: what is left out stays as it is.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Edit {
    /// The version that the edit was made from.
    version: i64,
    /// 1 to 500 characters.
    #[schema(min_length = 1, max_length = 500)]
    name: Option<String>,
    /// At most 500 characters.
    #[schema(max_length = 500)]
    description: Option<String>,
    /// At most 500 characters.
    #[schema(max_length = 500)]
    category: Option<String>,
    /// Price of a unit.
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 9_999_999_999.0)]
    price: Option<JsonDecimal>,
    /// Price before the sale; null takes it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 9_999_999_999.0)]
    original_price: Option<Option<JsonDecimal>>,
    /// Address of a picture; null takes it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 1000, pattern = r"^https://[A-Za-z0-9][A-Za-z0-9.:-]*([/?#][-A-Za-z0-9._~:/?#@!$&()*+,;=%]*)?$")]
    image_url: Option<Option<String>>,
    /// Units for sale; not less than those held and sold.
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    stock: Option<i64>,
    /// Units a customer may buy, from 1; null for any number.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 4_294_967_295_u32)]
    limit_per_customer: Option<Option<u32>>,
}

/// Tells null from what is left out.
fn given<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// The answer to a change.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Changed {
    /// For people.
    pub(super) message: String,
    /// The product as it is now.
    pub(super) product: ProductView,
}

/// Products, in a stable order.
#[utoipa::path(get, path = "/api/inventory/products", tag = "inventory", params(PageQuery),
    responses((status = 200, body = Page<ProductView>, description = "A page of products")))]
pub(super) async fn list(
    State(inventory): State<Inventory>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<ProductView>>, Problem> {
    let (limit, after) = (query.limit()?, query.after()?);
    let store = inventory.store.clone();
    let found = mongo::detached(async move {
        store
            .page(after, i64::from(limit) + 1)
            .await
            .map_err(StoreError::from)
    })
    .await
    .map_err(|e| store_problem(&e))?;
    let page = Page::cut(found, limit, |product: &Product| product.id.as_str().to_owned());
    Ok(Json(page.map(|product| product.view(inventory.currency))))
}

/// One product.
#[utoipa::path(get, path = "/api/inventory/products/{id}", tag = "inventory",
    params(("id" = String, Path, description = "The product's _id")),
    responses((status = 200, body = ProductView, description = "The product"),
              (status = 404, body = Problem, description = "not_found")))]
pub(super) async fn show(
    State(inventory): State<Inventory>,
    Path(id): Path<String>,
) -> Result<Json<ProductView>, Problem> {
    let product = find(&inventory.store, ProductId::new(id)).await?;
    Ok(Json(product.view(inventory.currency)))
}

pub(super) async fn find(store: &Store, id: ProductId) -> Result<Product, Problem> {
    let store = store.clone();
    mongo::detached(async move { store.product(&id).await.map_err(StoreError::from) })
        .await
        .map_err(|e| store_problem(&e))?
        .ok_or_else(|| Problem::not_found("product"))
}

/// Creates a product.
#[utoipa::path(post, path = "/api/inventory/products", tag = "inventory", request_body = NewProduct,
    security(("bearer" = ["admin", "service"])),
    responses((status = 201, body = Changed, description = "The product",
               links(("product" = (operation_id = "inventory_show", parameters(("id" = "$response.body#/product/_id")),
                                   description = "The product")),
                     ("edit" = (operation_id = "inventory_edit", parameters(("id" = "$response.body#/product/_id")),
                                description = "Edits it")))),
              (status = 409, body = Problem, description = "sku_taken")))]
pub(super) async fn create(
    State(inventory): State<Inventory>,
    caller: Caller,
    Json(new): Json<NewProduct>,
) -> Result<(StatusCode, Json<Changed>), Problem> {
    caller.require(&[Role::Admin, Role::Service])?;
    let product = new.check(
        inventory.currency,
        DateTime::from_millis(inventory.clock.now().as_millisecond()),
    )?;
    let (store, inserted, now) = (inventory.store.clone(), product.clone(), inventory.clock.now());
    mongo::detached(async move { store.add_product(inserted, now).await })
        .await
        .map_err(|error| {
            if error.is_duplicate_key() {
                Problem::new(
                    Code::SkuTaken,
                    format!("There is a product with the SKU {} already.", product.sku),
                )
            } else {
                store_problem(&error)
            }
        })?;
    tracing::info!(sku = %product.sku, stock = product.stock, "product created");
    inventory.gate.open(&product.id, product.stock).await;
    let view = product.view(inventory.currency);
    Ok((
        StatusCode::CREATED,
        Json(Changed {
            message: "Product created".to_owned(),
            product: view,
        }),
    ))
}

/// Edits a product.
#[utoipa::path(patch, path = "/api/inventory/products/{id}", tag = "inventory", request_body = Edit,
    security(("bearer" = ["admin", "service"])), params(("id" = String, Path, description = "The product's _id")),
    responses((status = 200, body = Changed, description = "The product as it is now"),
              (status = 404, body = Problem, description = "not_found"),
              (status = 409, body = Problem, description = "stale_version, stock_committed")))]
pub(super) async fn edit(
    State(inventory): State<Inventory>,
    caller: Caller,
    Path(id): Path<String>,
    Json(edit): Json<Edit>,
) -> Result<Json<Changed>, Problem> {
    caller.require(&[Role::Admin, Role::Service])?;
    edit.check(inventory.currency)?;
    let (store, id, currency) = (inventory.store.clone(), ProductId::new(id), inventory.currency);
    let now = inventory.clock.now();
    let (before, product) =
        mongo::detached(async move { edit_once(&store, &id, &edit, currency, now).await }).await?;
    if product.stock != before {
        inventory.gate.add(&product.id, product.stock - before).await;
    }
    let product = product.view(inventory.currency);
    Ok(Json(Changed {
        message: "Product changed".to_owned(),
        product,
    }))
}

/// Why an edit in a transaction ended.
#[derive(Debug)]
pub(super) enum Refusal {
    Store(StoreError),
    Problem(Box<Problem>),
}

impl From<MongoError> for Refusal {
    fn from(error: MongoError) -> Self {
        Self::Store(error.into())
    }
}

impl From<mongodb::error::Error> for Refusal {
    fn from(error: mongodb::error::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<WriteError> for Refusal {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Driver(error) => error.into(),
            // Read in the same transaction.
            WriteError::NotAsPlanned => Problem::internal(&error).into(),
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Store(error) => store_problem(&error),
            Refusal::Problem(problem) => *problem,
        }
    }
}

impl TransactionError for Refusal {
    fn of_database(&self) -> Option<&MongoError> {
        match self {
            Self::Store(error) => error.of_database(),
            Self::Problem(_) => None,
        }
    }
}

async fn edit_once(
    store: &Store,
    id: &ProductId,
    edit: &Edit,
    currency: Currency,
    now: Timestamp,
) -> Result<(i64, Product), Refusal> {
    store
        .transactions
        .run(|session| {
            let (store, id, edit) = (store.clone(), id.clone(), edit.clone());
            async move { edit_in(&store, session, &id, &edit, currency, now).await }.boxed()
        })
        .await
}

async fn edit_in(
    store: &Store,
    session: &mut ClientSession,
    id: &ProductId,
    edit: &Edit,
    currency: Currency,
    now: Timestamp,
) -> Result<(i64, Product), Refusal> {
    let Some(mut product) = store
        .products
        .find_one(doc! {"_id": id.as_str()})
        .session(&mut *session)
        .await?
    else {
        return Err(Problem::not_found("product").into());
    };
    if product.version != edit.version {
        let detail = format!(
            "The product has version {}; read it again and repeat the edit.",
            product.version
        );
        return Err(Problem::new(Code::StaleVersion, detail).into());
    }
    let before = product.stock;
    edit.apply(&mut product, currency)?;
    let posting = Posting::of_stock(&product.id, product.stock - before);
    product.version += 1;
    product.updated_at = DateTime::from_millis(now.as_millisecond());
    let fields = bson::serialize_to_document(&product).map_err(mongodb::error::Error::from)?;
    store
        .products
        .update_one(doc! {"_id": id.as_str()}, doc! {"$set": without_id(fields)})
        .session(&mut *session)
        .await?;
    if let Some(posting) = posting {
        let accounts = BTreeMap::from([(product.id.clone(), product.account().map_err(StoreError::from)?)]);
        store.post(session, &accounts, &[posting], now).await?;
    }
    Ok((before, product))
}

fn without_id(mut fields: bson::Document) -> bson::Document {
    fields.remove("_id");
    fields
}

impl NewProduct {
    fn check(self, currency: Currency, now: DateTime) -> Result<Product, Problem> {
        check_text("name", &self.name, 1)?;
        check_text("description", &self.description, 0)?;
        check_text("category", &self.category, 0)?;
        check_limit(self.limit_per_customer)?;
        if !(0..=MOST_STOCK).contains(&self.stock) {
            return Err(Problem::field(
                "stock",
                format!("must be from 0 to {MOST_STOCK}, not {}", self.stock),
            ));
        }
        Ok(Product {
            id: self.sku.product_id(),
            sku: self.sku,
            name: self.name,
            description: self.description,
            category: self.category,
            price: money("price", &self.price, currency)?,
            original_price: self
                .original_price
                .map(|p| money("originalPrice", &p, currency))
                .transpose()?,
            image_url: self.image_url.as_deref().map(image_url).transpose()?,
            stock: self.stock,
            reserved: 0,
            sold: 0,
            ledger: 0,
            limit_per_customer: self.limit_per_customer,
            version: 1,
            created_at: now,
            updated_at: now,
        })
    }
}

impl Edit {
    fn check(&self, currency: Currency) -> Result<(), Problem> {
        for (field, text, least) in [
            ("name", &self.name, 1),
            ("description", &self.description, 0),
            ("category", &self.category, 0),
        ] {
            if let Some(text) = text {
                check_text(field, text, least)?;
            }
        }
        let original = self.original_price.iter().flatten();
        let prices = self.price.iter().map(|price| ("price", price));
        for (field, price) in prices.chain(original.map(|price| ("originalPrice", price))) {
            money(field, price, currency)?;
        }
        if let Some(Some(url)) = &self.image_url {
            image_url(url)?;
        }
        if let Some(stock) = self.stock
            && !(0..=MOST_STOCK).contains(&stock)
        {
            return Err(Problem::field(
                "stock",
                format!("must be from 0 to {MOST_STOCK}, not {stock}"),
            ));
        }
        check_limit(self.limit_per_customer.flatten())
    }

    fn apply(&self, product: &mut Product, currency: Currency) -> Result<(), Refusal> {
        if let Some(stock) = self.stock {
            let mut account = product.account().map_err(StoreError::from)?;
            account
                .adjust(stock - product.stock)
                .map_err(|e| Problem::new(Code::StockCommitted, e.to_string()))?;
            product.stock = stock;
        }
        if let Some(name) = &self.name {
            product.name.clone_from(name);
        }
        if let Some(description) = &self.description {
            product.description.clone_from(description);
        }
        if let Some(category) = &self.category {
            product.category.clone_from(category);
        }
        if let Some(price) = &self.price {
            product.price = money("price", price, currency)?;
        }
        if let Some(price) = &self.original_price {
            let price = price
                .as_ref()
                .map(|price| money("originalPrice", price, currency));
            product.original_price = price.transpose()?;
        }
        if let Some(url) = &self.image_url {
            product.image_url = url.as_deref().map(image_url).transpose()?;
        }
        if let Some(limit) = self.limit_per_customer {
            product.limit_per_customer = limit;
        }
        Ok(())
    }
}

fn money(field: &str, number: &JsonDecimal, currency: Currency) -> Result<Money, Problem> {
    number
        .money(currency)
        .map_err(|error| Problem::field(field, error.to_string()))
}

fn image_url(text: &str) -> Result<ImageUrl, Problem> {
    ImageUrl::parse(text).map_err(|error| Problem::field("imageUrl", error.to_string()))
}

fn check_text(field: &str, text: &str, least: usize) -> Result<(), Problem> {
    let length = text.chars().count();
    if (least..=LONGEST_TEXT).contains(&length) {
        Ok(())
    } else {
        Err(Problem::field(
            field,
            format!("must have from {least} to {LONGEST_TEXT} characters, not {length}"),
        ))
    }
}

fn check_limit(limit: Option<u32>) -> Result<(), Problem> {
    match limit {
        Some(0) => Err(Problem::field(
            "limitPerCustomer",
            "must be at least 1; say null, or in a new product nothing, for any number",
        )),
        _ => Ok(()),
    }
}
