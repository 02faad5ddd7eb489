//! The client of EC2's API: aws-sdk-ec2 for one question at a time.

use aws_config::{BehaviorVersion, Region};
use aws_sdk_ec2::config::ProvideCredentials;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::{DiskType, Filter, InstanceTypeInfo};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use super::api::{LIMIT, Trouble};
use super::instance_type::{Ebs, InstanceStore, InstanceType};

pub struct Client(aws_sdk_ec2::Client);

/// Asks one question on a runtime of its own.
pub fn ask<T>(region: Option<&str>, question: impl AsyncFnOnce(Client) -> Result<T, Trouble>) -> Result<T, Trouble> {
    let failed = |e: std::io::Error| Trouble::Failed(format!("cannot start the runtime: {e}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let answer = runtime.block_on(async {
        let all = async { question(Client::connect(region).await?).await };
        tokio::time::timeout(LIMIT, all).await.unwrap_or(Err(Trouble::Slow))
    });
    // Its threads may still wait for a name server.
    runtime.shutdown_background();
    answer
}

impl Client {
    /// By the configuration that all AWS tools share: environment, profile, the instance's role.
    async fn connect(region: Option<&str>) -> Result<Client, Trouble> {
        let http =
            aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .retry_config(RetryConfig::standard().with_max_attempts(2));
        if let Some(region) = region {
            loader = loader.region(Region::new(region.to_owned()));
        }
        let config = loader.load().await;
        if config.region().is_none() {
            return Err(Trouble::Failed("no region: set AWS_REGION".into()));
        }
        let none = || Trouble::NoCredentials("none are configured".into());
        let provider = config.credentials_provider().ok_or_else(none)?;
        // Asked for here, so that their absence is not one more failed request.
        let credentials = provider.provide_credentials().await.map_err(|e| Trouble::NoCredentials(with_causes(&e)))?;
        let config = aws_sdk_ec2::config::Builder::from(&config).credentials_provider(credentials).build();
        Ok(Client(aws_sdk_ec2::Client::from_conf(config)))
    }

    pub async fn instance_type(&self, name: &str) -> Result<InstanceType, Trouble> {
        let answer = self.0.describe_instance_types().instance_types(name.into()).send().await.map_err(trouble)?;
        let found = answer.instance_types().iter().find(|it| it.instance_type().is_some_and(|t| t.as_str() == name));
        let found = found.ok_or(Trouble::Unknown)?;
        translate(name, found)
            .ok_or_else(|| Trouble::Failed("the answer says nothing of CPUs, memory or network".into()))
    }

    pub async fn tagged_volumes(&self, instance: &str, key: &str, value: &str) -> Result<Vec<String>, Trouble> {
        let filter = |name: &str, value: &str| Filter::builder().name(name).values(literal(value)).build();
        let mut pages = self
            .0
            .describe_volumes()
            .filters(filter("attachment.instance-id", instance))
            .filters(filter(&format!("tag:{key}"), value))
            .into_paginator()
            .items()
            .send();
        let mut ids = Vec::new();
        while let Some(volume) = pages.next().await {
            ids.extend(volume.map_err(trouble)?.volume_id().map(str::to_owned));
        }
        ids.sort();
        Ok(ids)
    }
}

/// A value of a filter in which no character has a meaning of its own.
fn literal(value: &str) -> String {
    value.chars().flat_map(|c| matches!(c, '*' | '?' | '\\').then_some('\\').into_iter().chain([c])).collect()
}

fn trouble<E: ProvideErrorMetadata + std::error::Error + 'static, R: std::fmt::Debug + 'static>(
    error: SdkError<E, R>,
) -> Trouble {
    match &error {
        SdkError::TimeoutError(_) => Trouble::Slow,
        SdkError::DispatchFailure(failure) if failure.is_timeout() => Trouble::Slow,
        SdkError::ServiceError(refused) => {
            let code = refused.err().code().unwrap_or("no code");
            let text = format!("{code}: {}", refused.err().message().unwrap_or("no message"));
            match code {
                "InvalidInstanceType" => Trouble::Unknown,
                "UnauthorizedOperation"
                | "AccessDenied"
                | "AuthFailure"
                | "OptInRequired"
                | "Blocked"
                | "ExpiredToken"
                | "RequestExpired"
                | "InvalidClientTokenId"
                | "SignatureDoesNotMatch" => Trouble::Denied(code.to_owned()),
                "RequestLimitExceeded" | "InternalError" | "Unavailable" | "ServiceUnavailable" => {
                    Trouble::Unreachable(text)
                }
                _ => Trouble::Failed(text),
            }
        }
        SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => Trouble::Unreachable(with_causes(&error)),
        _ => Trouble::Failed(with_causes(&error)),
    }
}

/// In words alone: the SDK's own way to show causes adds what is meant for its developers.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let all = std::iter::successors(Some(error), |&error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// None if something is missing that every type has.
fn translate(name: &str, it: &InstanceTypeInfo) -> Option<InstanceType> {
    let number = |n: Option<i32>| u32::try_from(n?).ok();
    let cards = it.network_info()?.network_cards();
    let first = cards.iter().find(|card| card.network_card_index() == Some(0))?;
    let ebs = it.ebs_info().and_then(|ebs| ebs.ebs_optimized_info()).and_then(|ebs| {
        Some(Ebs {
            baseline_mbps: ebs.baseline_throughput_in_m_bps()?,
            maximum_mbps: ebs.maximum_throughput_in_m_bps()?,
            baseline_iops: number(ebs.baseline_iops())?,
            maximum_iops: number(ebs.maximum_iops())?,
        })
    });
    let store = it.instance_storage_info().and_then(|store| store.disks().first()).and_then(|disks| {
        Some(InstanceStore {
            disks: number(disks.count())?,
            gigabytes_each: disks.size_in_gb()?.try_into().ok()?,
            ssd: disks.r#type() == Some(&DiskType::Ssd),
        })
    });
    Some(InstanceType {
        name: name.to_owned(),
        vcpus: number(it.v_cpu_info()?.default_v_cpus())?,
        memory_mib: it.memory_info()?.size_in_mib()?.try_into().ok()?,
        network_baseline_gbps: first.baseline_bandwidth_in_gbps()?,
        network_peak_gbps: first.peak_bandwidth_in_gbps()?,
        network_cards: cards.len().try_into().ok()?,
        ebs,
        store,
    })
}
