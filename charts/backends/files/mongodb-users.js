// Creates or updates a role and a user for each service: for mongosh, on a server on loopback that does not ask who it is.
// From the environment: GRANTS is the path of grants.json; PASSWORDS a directory with a file for each service; ACCOUNTS the
// database of accounts, empty for any; MEMBER the address of the only member of the replica set.
const fs = require("fs");
const { GRANTS, PASSWORDS, ACCOUNTS, MEMBER } = process.env;
const admin = db.getSiblingDB("admin");

try {
  rs.initiate({ _id: "rs0", members: [{ _id: 0, host: MEMBER }] });
} catch (error) {
  if (error.codeName !== "AlreadyInitialized") throw error;
}
while (!db.hello().isWritablePrimary) sleep(100);

// Updates what is there, and creates it where the answer is that it is not.
function ensure(what, name, missing, fields) {
  try {
    admin.runCommand({ [`update${what}`]: name, ...fields }).ok || quit(1);
  } catch (error) {
    if (error.codeName !== missing) throw error;
    admin.runCommand({ [`create${what}`]: name, ...fields }).ok || quit(1);
  }
}

for (const [service, { user, mongodb }] of Object.entries(JSON.parse(fs.readFileSync(GRANTS, "utf8")))) {
  if (!mongodb) continue;
  const privileges = Object.entries(mongodb).flatMap(([place, collections]) =>
    Object.entries(collections).map(([collection, actions]) => ({
      resource: { db: place === "accounts" ? ACCOUNTS : "", collection },
      actions,
    })),
  );
  ensure("Role", user, "RoleNotFound", { privileges, roles: [] });
  const pwd = fs.readFileSync(`${PASSWORDS}/${service}`, "utf8").trim();
  ensure("User", user, "UserNotFound", { pwd, roles: [{ role: user, db: "admin" }], mechanisms: ["SCRAM-SHA-256"] });
}
