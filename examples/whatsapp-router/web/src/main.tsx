import { start } from "@pregon/example-kit";
import { App } from "./App.js";
import "@pregon/example-kit/chat.css";
import "./router.css";

void start("whatsapp-router", App);
