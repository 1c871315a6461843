CREATE TABLE IF NOT EXISTS authorities (
  id bigint NOT NULL PRIMARY KEY,
  pin varchar(64) NOT NULL,
  created_at bigint NOT NULL
){table};

CREATE TABLE IF NOT EXISTS join_tokens (
  id {id},
  hash varchar(64) NOT NULL UNIQUE,
  role varchar(16) NOT NULL,
  comment {text} NOT NULL,
  author varchar(300) NOT NULL,
  uses bigint NOT NULL,
  uses_left bigint NOT NULL,
  revoked boolean NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint NOT NULL
){table};

CREATE TABLE IF NOT EXISTS certificates (
  id {id},
  serial varchar(64) NOT NULL UNIQUE,
  role varchar(16) NOT NULL,
  name varchar(128) NOT NULL,
  token_id bigint NOT NULL,
  key_hash varchar(64) NOT NULL,
  revoked_at bigint NOT NULL,
  revoked_by varchar(300) NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint NOT NULL
){table};

CREATE INDEX certificates_by_member ON certificates (role, name);

CREATE INDEX certificates_by_revocation ON certificates (revoked_at, expires_at);
