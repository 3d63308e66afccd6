//! A method with its arguments, as the configuration lists it.

use std::fmt;

use binrpc::{BinrpcValue, CallRequest};

/// A method to call and its arguments.
#[derive(Clone, PartialEq, Eq)]
pub struct MethodCall {
    name: String,
    arguments: Vec<String>,
    is_listed: bool,
}

impl MethodCall {
    /// A method that the configuration lists by its name.
    #[must_use]
    pub fn listed(name: &str, arguments: Vec<String>) -> Self {
        Self { name: name.to_owned(), arguments, is_listed: true }
    }

    /// A method that the configuration includes with the default methods.
    #[must_use]
    pub fn unlisted(name: &str, arguments: Vec<String>) -> Self {
        Self { name: name.to_owned(), arguments, is_listed: false }
    }

    /// The method's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The arguments, separated by blanks; empty if there are none.
    #[must_use]
    pub fn arguments(&self) -> String {
        self.arguments.join(" ")
    }

    /// Whether the configuration lists the method by its name, so that the operator expects a reply.
    /// Many servers lack some of the default methods.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// Whether two calls send the same request.
    #[must_use]
    pub fn is_same_request(&self, other: &Self) -> bool {
        (&self.name, &self.arguments) == (&other.name, &other.arguments)
    }

    /// The request to send. Arguments that are whole numbers become ints.
    #[must_use]
    pub fn request(&self) -> CallRequest {
        let value = |argument: &String| match argument.parse::<i32>() {
            Ok(int) => BinrpcValue::Int(int),
            Err(_) => BinrpcValue::from(argument.as_str()),
        };
        let parameters = self.arguments.iter().map(value).collect();
        CallRequest { method: self.name.clone(), parameters }
    }
}

impl fmt::Display for MethodCall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)?;
        self.arguments.iter().try_for_each(|argument| write!(formatter, " {argument}"))
    }
}

impl fmt::Debug for MethodCall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_sent_as_ints_and_everything_else_as_text() {
        let arguments = ["index", "0", "4930123456"].map(str::to_owned).to_vec();
        let call = MethodCall::listed("pkg.stats", arguments);
        let expected = CallRequest::new("pkg.stats").with("index").with(0).with("4930123456");
        assert_eq!(call.request(), expected);
        assert_eq!(call.to_string(), "pkg.stats index 0 4930123456");
    }
}
