-- Lists of one role are read in the order of their identities: with the index of names
-- alone every page would sort all members.
CREATE INDEX members_by_role ON members (role, id);
