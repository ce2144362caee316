package dev.kexport.classifier

import android.content.res.AssetManager
import org.json.JSONArray
import org.json.JSONObject

/** What `contract.json` says of an input or output. A scale of 0 is that of numbers that stand for themselves. */
data class Tensor(val name: String, val type: String, val scale: Double, val zeroPoint: Int)

/** How an image becomes the input: `(pixel * scale - mean) / std` per channel. */
data class Preprocessing(
    val width: Int,
    val height: Int,
    val resize: String,
    val shorterSide: Int,
    val bgr: Boolean,
    val scale: Double,
    val mean: DoubleArray,
    val std: DoubleArray,
)

class Contract(val modelFile: String, val input: Tensor, val outputs: List<Tensor>, val preprocessing: Preprocessing) {
    companion object {
        fun read(assets: AssetManager): Contract {
            val root = JSONObject(assets.open("contract.json").bufferedReader().use { it.readText() })
            val rule = root.getJSONObject("preprocessing")
            val outputs = root.getJSONArray("outputs")
            return Contract(
                modelFile = root.getString("model_file"),
                input = tensor(root.getJSONObject("input")),
                outputs = List(outputs.length()) { tensor(outputs.getJSONObject(it)) },
                preprocessing = Preprocessing(
                    width = rule.getJSONArray("size").getInt(1),
                    height = rule.getJSONArray("size").getInt(0),
                    resize = rule.getString("resize"),
                    shorterSide = rule.getInt("resize_shorter_side"),
                    bgr = rule.getString("channel_order") == "BGR",
                    scale = rule.getDouble("scale"),
                    mean = numbers(rule.getJSONArray("mean")),
                    std = numbers(rule.getJSONArray("std")),
                ),
            )
        }

        private fun tensor(found: JSONObject) = Tensor(
            found.getString("name"), found.getString("dtype"), found.optDouble("scale", 0.0), found.optInt("zero_point"),
        )

        private fun numbers(found: JSONArray) = DoubleArray(found.length()) { found.getDouble(it) }
    }
}
