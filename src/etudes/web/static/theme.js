// Before anything is drawn, so that no page flashes in the other colours.
try {
  const chosen = localStorage.getItem("theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch { /* storage may be forbidden; then the system's choice stands */ }
document.documentElement.dataset.script = "yes";
