//! Whole numbers in documents. People and tools that mend or import a document write them in other types than the services do,
//! and a count must not become zero by that.

use mongodb::{
    bson::{Bson, Document},
    error::Error,
};

/// The whole number of a field, of whatever numeric type; zero where there is none.
///
/// # Errors
/// When the field holds something else.
pub fn whole_number(document: &Document, field: &str) -> Result<i64, Error> {
    match document.get(field) {
        None | Some(Bson::Null) => Ok(0),
        Some(Bson::Int64(number)) => Ok(*number),
        Some(Bson::Int32(number)) => Ok(i64::from(*number)),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it has no fraction and is in the range"
        )]
        Some(Bson::Double(number)) if number.fract() == 0.0 && number.abs() < 9e15 => Ok(*number as i64),
        Some(other) => Err(Error::custom(format!("{field} is no whole number but {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::doc;

    #[test]
    fn a_number_counts_in_whatever_type_somebody_has_written_it() {
        let document = doc! {"long": 5_i64, "int": 5, "double": 5.0, "half": 5.5, "text": "5", "null": null};
        for field in ["long", "int", "double"] {
            assert_eq!(whole_number(&document, field).unwrap(), 5, "{field}");
        }
        for field in ["null", "missing"] {
            assert_eq!(whole_number(&document, field).unwrap(), 0, "{field}");
        }
        for field in ["half", "text"] {
            assert!(whole_number(&document, field).is_err(), "{field}");
        }
    }
}
