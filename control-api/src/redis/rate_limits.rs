//! What is counted of limits that hold for all replicas together.

use shared::rate::{Rate, Spent};

use super::{PublishError, Publisher};

impl Publisher {
    /// Counts once more under this key, unless it would be too much.
    pub async fn spend(&self, key: &str, rate: Rate) -> Result<Spent, PublishError> {
        let arguments = [rate.cost(), rate.most()].map(|time| time.as_micros().to_string());
        let reply: Vec<String> = self.run("SPEND", &self.spend, vec![key.to_owned()], arguments.into()).await?;
        Ok(Spent::parse(&reply)?)
    }
}
