//! The keys that a type reads, told by its own `Deserialize`.

use std::collections::BTreeSet;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

type Never = serde::de::value::Error;

/// Asks a type for its fields, and gives it nothing.
struct Asking<'a>(&'a mut BTreeSet<String>);

impl<'de> Deserializer<'de> for Asking<'_> {
    type Error = Never;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Never> {
        Err(Never::custom("not a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Never> {
        self.0
            .extend(fields.iter().map(|field| (*field).to_owned()));
        Err(Never::custom("asked"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The keys that a struct reads.
pub fn of<'de, T: Deserialize<'de>>() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let _ = T::deserialize(Asking(&mut keys));
    assert!(!keys.is_empty(), "no struct");
    keys
}
