import { start } from "@pregon/example-kit";
import { App } from "./App.js";
import "@pregon/example-kit/chat.css";
import "./inbox.css";

void start("chat-inbox", App);
