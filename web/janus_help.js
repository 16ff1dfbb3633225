// Adds the style sheet of the help pages.

const style = document.createElement("link");
style.rel = "stylesheet";
style.href = new URL("./janus_help.css", import.meta.url).href;
document.head.append(style);
