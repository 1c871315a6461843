CREATE TABLE IF NOT EXISTS clusters (
  id {id},
  name varchar(128) NOT NULL UNIQUE,
  description {text} NOT NULL,
  scopes {text},
  is_default boolean NOT NULL,
  jobs_per_minute bigint NOT NULL,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL
){table};

CREATE TABLE IF NOT EXISTS members (
  id {id},
  role varchar(16) NOT NULL,
  name varchar(128) NOT NULL,
  cluster_id bigint NOT NULL,
  pinned boolean NOT NULL,
  hostname varchar(255) NOT NULL,
  ip varchar(64) NOT NULL,
  address varchar(255) NOT NULL,
  job_address varchar(255) NOT NULL,
  idc varchar(255) NOT NULL,
  location {text} NOT NULL,
  version varchar(255) NOT NULL,
  state varchar(16) NOT NULL,
  config_version bigint NOT NULL,
  seen_at bigint NOT NULL,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  UNIQUE (role, name)
){table};

CREATE INDEX members_by_cluster ON members (cluster_id, role, state);

CREATE INDEX members_by_pin ON members (pinned, updated_at);

CREATE TABLE IF NOT EXISTS applications (
  id {id},
  name varchar(128) NOT NULL UNIQUE,
  description {text} NOT NULL,
  priority bigint NOT NULL,
  urls {text},
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL
){table};

CREATE TABLE IF NOT EXISTS configurations (
  id {id},
  cluster_id bigint NOT NULL,
  settings {text},
  author varchar(300) NOT NULL,
  comment {text} NOT NULL,
  created_at bigint NOT NULL
){table};

CREATE INDEX configurations_by_cluster ON configurations (cluster_id, id);

CREATE TABLE IF NOT EXISTS jobs (
  id {id},
  kind varchar(32) NOT NULL,
  cluster_id bigint NOT NULL,
  args {text},
  state varchar(16) NOT NULL,
  result {text},
  error {text} NOT NULL,
  cancel boolean NOT NULL,
  actor varchar(300) NOT NULL,
  holder varchar(128) NOT NULL,
  lease_until bigint NOT NULL,
  attempt bigint NOT NULL,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  started_at bigint NOT NULL,
  finished_at bigint NOT NULL
){table};

CREATE INDEX jobs_by_lease ON jobs (state, lease_until);

CREATE TABLE IF NOT EXISTS job_items (
  id {id},
  job_id bigint NOT NULL,
  member varchar(128) NOT NULL,
  content varchar(512) NOT NULL,
  state varchar(16) NOT NULL,
  error {text} NOT NULL,
  pieces bigint NOT NULL,
  verified bigint NOT NULL,
  bytes bigint NOT NULL,
  updated_at bigint NOT NULL,
  UNIQUE (job_id, member, content)
){table};

CREATE TABLE IF NOT EXISTS users (
  id {id},
  name varchar(128) NOT NULL UNIQUE,
  email varchar(255) NOT NULL,
  roles {text},
  disabled boolean NOT NULL,
  password_hash varchar(255) NOT NULL,
  subject varchar(400) NOT NULL,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL
){table};

CREATE INDEX users_by_subject ON users (subject);

CREATE TABLE IF NOT EXISTS roles (
  name varchar(128) NOT NULL PRIMARY KEY,
  description {text} NOT NULL,
  permissions {text},
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL
){table};

CREATE TABLE IF NOT EXISTS sessions (
  id {id},
  user_id bigint NOT NULL,
  hash varchar(64) NOT NULL UNIQUE,
  created_at bigint NOT NULL,
  expires_at bigint NOT NULL
){table};

CREATE TABLE IF NOT EXISTS access_tokens (
  id {id},
  user_id bigint NOT NULL,
  name varchar(128) NOT NULL,
  hash varchar(64) NOT NULL UNIQUE,
  scopes {text},
  revoked boolean NOT NULL,
  expires_at bigint NOT NULL,
  used_at bigint NOT NULL,
  created_at bigint NOT NULL,
  UNIQUE (user_id, name)
){table};

CREATE TABLE IF NOT EXISTS providers (
  id {id},
  name varchar(128) NOT NULL UNIQUE,
  issuer {text} NOT NULL,
  client_id {text} NOT NULL,
  client_secret {text} NOT NULL,
  scopes {text},
  roles {text},
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL
){table};

CREATE TABLE IF NOT EXISTS audits (
  id {id},
  at bigint NOT NULL,
  actor_kind varchar(16) NOT NULL,
  actor varchar(300) NOT NULL,
  remote varchar(64) NOT NULL,
  action varchar(64) NOT NULL,
  object {text} NOT NULL,
  status bigint NOT NULL,
  outcome varchar(16) NOT NULL,
  detail {text} NOT NULL
){table};

CREATE INDEX audits_by_time ON audits (at);
