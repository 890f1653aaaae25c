//! Types that are a text in JSON.

/// Lets serde write a type as its [`Display`](std::fmt::Display) and read it with its [`FromStr`](std::str::FromStr).
#[macro_export]
macro_rules! serde_as_text {
    ($($name:ty),+ $(,)?) => {
        $(impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as ::serde::Deserialize>::deserialize(deserializer)?
                    .parse()
                    .map_err(::serde::de::Error::custom)
            }
        })+
    };
}
