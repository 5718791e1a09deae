"""The words for the open lists of Home Assistant's templates, which each home fills in."""

# Devices by kind (Home Assistant's "domain"); a template may ask for one or several kinds.
NAMES = {
    "light": "ceiling light, desk lamp, reading lamp, chandelier, led strip, spotlights, night light, bedside lamp, "
    "globe, lantern, fairy lights, uplighter",
    "switch": "coffee machine, kettle, toaster, dishwasher, water pump, heated blanket, christmas tree, aquarium, "
    "dehumidifier, sprinkler, charger, power strip",
    "fan": "ceiling fan, tower fan, extractor, ventilator, air purifier, exhaust fan, desk fan, breeze, pedestal fan, "
    "cooker hood",
    "media_player": "tv, soundbar, record player, speaker, sonos, chromecast, apple tv, hi-fi, jukebox, smart radio, "
    "projector, boombox",
    "input_boolean": "guest mode, vacation mode, party mode, quiet hours, movie mode, do not disturb, office mode, "
    "presence simulation, winter mode, pet mode",
    "climate": "thermostat, heat pump, radiator, air conditioner, underfloor heating, heater, ecobee, nest, boiler, "
    "split unit, towel rail",
    "cover": "left blind, right blind, roller shutter, velux, balcony awning, patio door, main gate, garage door, "
    "sheer curtain, skylight, west shade, tilt window",
    "valve": "garden valve, main valve, gas valve, water valve, irrigation valve, pool valve, hot tap, drip line, "
    "rain barrel valve, boiler valve",
    "lock": "front door, back door, cellar door, side entrance, safe, gun cabinet, mailbox, bike shed, letterbox, "
    "porch door, gate lock",
    "sensor": "outdoor sensor, barometer, rain gauge, power meter, hygrometer, smart plug, wind gauge, water meter, "
    "lux meter, solar inverter",
    "binary_sensor": "phone, tablet, laptop, doorbell, motion detector, smoke alarm, leak sensor, washing machine, "
    "dryer, electric car, freezer, window contact, robot",
    "vacuum": "roborock, roomba, dusty, deebot, neato, robot vacuum, dyson, eufy, hoover, sweeper",
    "lawn_mower": "lawn mower, automower, landroid, shaun, goat, mowbot, robomow, grazer, worx, husqvarna",
    "todo": "groceries, chores, packing, homework, errands, hardware store, wish, party planning, daily, repairs",
    "scene": "sunset, movie night, bright morning, romantic dinner, relax, energize, arctic aurora, good night, focus, "
    "savanna, tropical twilight",
    "script": "bedtime routine, wake up routine, leaving home, welcome back, laundry reminder, alarm, cat feeder, "
    "watering cycle, story time, disco",
    "person": "alice, bob, carla, dmitri, emma, frank, grandma, hannah, ivan, julia, kenji, luis, mum, nadia",
    "weather": "berlin, new york, lisbon, oslo, home, tokyo, openweathermap, san francisco, nairobi, cabin, montreal",
    "button": "reboot button, reset button, panic button, doorbell chime, elevator call, feeder button",
}
NAMES["input_button"] = NAMES["button"]

# The words of the other open lists.
WORDS = {
    "area": "kitchen, living room, bedroom, bathroom, office, hallway, garage, garden, attic, cellar, nursery, pantry, "
    "dining room, guest room, balcony, laundry room, library, sauna, conservatory, studio",
    "floor": "ground floor, first floor, second floor, basement, upstairs, downstairs, top floor, mezzanine, loft, "
    "lower level, upper level, penthouse, main floor",
    "zone": "school, work, university, gym, supermarket, train station, grandparents, city centre, airport, park, "
    "hospital, allotment",
    "message": "dinner is ready, the bus leaves soon, please come downstairs, the parcel has arrived, lunch time, "
    "we are leaving, bring your shoes, the film starts now, bedtime, your taxi is waiting, the cake is done, "
    "feed the cat, someone is at the gate",
    "search_query": "bohemian rhapsody, miles davis, the beatles, abbey road, jazz classics, the daily, star wars, "
    "nina simone, blue in green, deep sleep, stranger things, kind of blue, morning coffee, beethoven, "
    "the lord of the rings, fela kuti, summer hits",
    "timer_name": "pizza, pasta, egg, laundry, tea, nap, workout, bread, homework break, risotto, meditation, cookies, "
    "potatoes, oven",
    "timer_command": "turn off the tv, open the blinds, lock the front door, close the garage door, stop the music, "
    "turn on the heating, dim the lights, start the dishwasher, switch off the radio, open the gate, mute the speaker",
    "shopping_list_item": "milk, bread, eggs, olive oil, toilet paper, bananas, coffee beans, cheddar, dog food, rice, "
    "orange juice, dish soap, sparkling water, tomatoes, oat flakes",
    "todo_list_item": "call the plumber, wash the car, water the plants, pay the rent, book a flight, batteries, "
    "clean the gutters, renew passport, buy stamps, mow the lawn, return the parcel, passport photos, paint the fence",
}
