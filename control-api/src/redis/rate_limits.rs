//! What is counted of limits that hold for all replicas together.

use shared::{
    rate::{Rate, Spent},
    redis::{Limited, calls::Spend},
};

use super::{PublishError, Publisher};

impl Publisher {
    /// Counts once more of this limit, unless it would be too much.
    pub async fn spend(&self, limited: Limited<'_>, rate: Rate) -> Result<Spent, PublishError> {
        let reply: Vec<String> = self.call(&Spend { limited, cost: rate.cost(), most: Some(rate.most()) }).await?;
        Ok(Spent::parse(&reply)?)
    }
}
