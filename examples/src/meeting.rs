//! The machines that share a training, before they do.

use std::net::TcpListener;

use relay_pipeline::Machines;
use relay_train::{Followers, Leader, StopFlag};

use crate::CliError;

/// Which machines share a training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meeting {
    /// This one alone.
    Alone,
    /// This one leads this many others, which find it at this address.
    Lead {
        /// Address and port to listen at.
        listen: String,
        /// Machines that follow.
        followers: usize,
    },
    /// This one follows the one at this address.
    Follow(String),
}

impl Meeting {
    /// How many machines, as far as this one knows.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Lead { followers, .. } => 1 + followers,
            Self::Alone | Self::Follow(_) => 1,
        }
    }

    /// Waits for the other machines.
    pub(crate) fn meet(&self, workers: usize, stop: &StopFlag) -> Result<Machines, CliError> {
        match self {
            Self::Alone => Ok(Machines::Alone),
            Self::Lead { listen, followers } => {
                let listener = TcpListener::bind(listen)
                    .map_err(|error| CliError::usage(format!("--listen {listen}: {error}")))?;
                let address = listener.local_addr().map_err(CliError::failure)?;
                tracing::info!("waiting at {address} for {followers} followers");
                Followers::gather(&listener, *followers, stop)
                    .map(Machines::Lead)
                    .map_err(CliError::failure)
            }
            Self::Follow(address) => Leader::join(address, workers, stop)
                .map(Machines::Follow)
                .map_err(CliError::failure),
        }
    }
}
