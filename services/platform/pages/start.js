// Begins the page. While a new version is rolled out, one part of it may come from an old process and another from a new one. Where
// these do not fit the page is asked for again, a few times, and then says that it could not be loaded.
const NAME = "quicksale.starts";
const MOST = 5;
const FIRST_WAIT = 500;

function made() {
  try {
    return Number(sessionStorage.getItem(NAME));
  } catch {
    // Nothing can be counted here, so nothing is tried again.
    return MOST;
  }
}

function keep(starts) {
  try {
    sessionStorage.setItem(NAME, String(starts));
  } catch {
    // It begins at none, then.
  }
}

const before = made();
try {
  await import("../main.js");
  keep(0);
} catch (error) {
  console.error(error);
  if (before < MOST) {
    keep(before + 1);
    setTimeout(() => location.reload(), FIRST_WAIT * 2 ** before * (0.5 + Math.random()));
  } else {
    keep(0);
    document.getElementById("broken").hidden = false;
  }
}
